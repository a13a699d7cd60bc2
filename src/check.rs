//! `walbrook check`: what stands between this configuration and a running pipeline.
//!
//! The file itself was checked when it was loaded; here the servers are asked. Each finding comes with the SQL or the
//! setting that mends it.

use std::process::ExitCode;

use walbrook_config::Config;
use walbrook_model::{Result, Severity};

use crate::ends::{SinkEnd, SourceEnd};
use crate::exit;

/// Prints the findings; fails if one of them is an error.
pub(crate) async fn check(config: &Config, offline: bool) -> ExitCode {
    println!("configuration: ok");
    if offline {
        return ExitCode::SUCCESS;
    }
    let (source, sink) = match ends(config) {
        Ok(ends) => ends,
        Err(error) => return exit::report(&error),
    };
    let mut errors = 0;
    let mut tables = Vec::new();
    match source {
        SourceEnd::Postgres(postgres) => {
            for finding in walbrook_source_postgres::preflight(&postgres).await {
                println!("{finding}");
                errors += usize::from(finding.severity == Severity::Error);
            }
            // Why they cannot be known was just said.
            tables = walbrook_source_postgres::captured_tables(&postgres).await.unwrap_or_default();
        }
        SourceEnd::Topics(topics) => {
            for finding in walbrook_source_kafka::preflight(&topics.settings).await {
                println!("{finding}");
                errors += usize::from(finding.severity == Severity::Error);
            }
        }
    }
    if let SinkEnd::Kafka(kafka) = sink {
        for finding in walbrook_sink_kafka::preflight(&kafka.settings, &config.pipeline, kafka.info, &tables).await {
            println!("{finding}");
            errors += usize::from(finding.severity == Severity::Error);
        }
    }
    if errors == 0 {
        println!("ready: walbrook run can start");
        return ExitCode::SUCCESS;
    }
    println!("{errors} to mend before walbrook can run");
    ExitCode::from(walbrook_config::EXIT_CONFIG)
}

fn ends(config: &Config) -> Result<(SourceEnd, SinkEnd)> {
    Ok((SourceEnd::new(config)?, SinkEnd::new(config)?))
}
