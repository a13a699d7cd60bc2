//! `walbrook check`: what stands between this configuration and a running pipeline.
//!
//! The file itself was checked when it was loaded; here the servers are asked. Each finding comes with the SQL or the
//! setting that mends it.

use std::process::ExitCode;

use walbrook_config::Config;
use walbrook_source_postgres::{Severity, preflight};

/// Prints the findings; fails if one of them is an error.
pub(crate) async fn check(config: &Config, offline: bool) -> ExitCode {
    println!("configuration: ok");
    if offline {
        return ExitCode::SUCCESS;
    }
    let findings = preflight(&config.postgres).await;
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if errors == 0 {
        println!("ready: walbrook run can start");
        return ExitCode::SUCCESS;
    }
    println!("{errors} to mend before walbrook can run");
    ExitCode::from(walbrook_config::EXIT_CONFIG)
}
