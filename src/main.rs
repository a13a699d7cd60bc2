//! walbrook: change data capture in one binary.
//!
//! This crate is the daemon: commands, signals, probes, metrics. It is the only place that knows connectors *and* sinks;
//! all else lives in the crates named in `ARCHITECTURE.md`.

mod args;
mod check;
mod demo;
mod exit;
mod gap;
mod http;
mod log;
mod memory;
mod metrics;
mod progress;
mod run;
mod verify;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use walbrook_config::Config;

use args::{Args, Command, GapCommand};

fn main() -> ExitCode {
    let args = Args::parse();
    memory::give_back();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads: {error}");
            return ExitCode::from(exit::FAILED);
        }
    };
    let code = runtime.block_on(command(args.command));
    // A read that is stuck in the kernel must not hold the process up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

/// The source task, the sink task, and one for sockets and probes.
const WORKERS: usize = 3;

async fn command(command: Command) -> ExitCode {
    match command {
        Command::Run { file } => match load(&file) {
            Ok(config) => run::run(config).await,
            Err(code) => code,
        },
        Command::Check { file, offline } => match load(&file) {
            Ok(config) => check::check(&config, offline).await,
            Err(code) => code,
        },
        Command::Verify { file, tables, wait } => match load(&file) {
            Ok(config) => verify::verify(config, &tables, Duration::from_secs(wait)).await,
            Err(code) => code,
        },
        Command::Gap { command: GapCommand::Accept { file, reason } } => match load(&file) {
            Ok(config) => gap::accept(config, &reason).await,
            Err(code) => code,
        },
        Command::Config { example } => {
            let text = if example { walbrook_config::example().to_owned() } else { walbrook_config::reference() };
            print!("{text}");
            ExitCode::SUCCESS
        }
        Command::Demo(args) => demo::demo(args).await,
    }
}

/// Loads a configuration file and starts logging; prints every problem of it.
fn load(file: &Path) -> Result<Config, ExitCode> {
    let config = Config::load(file).map_err(|problems| {
        for problem in &problems {
            eprintln!("{problem}");
        }
        ExitCode::from(walbrook_config::EXIT_CONFIG)
    })?;
    log::start(&config.log).map_err(|error| exit::report(&error))?;
    Ok(config)
}
