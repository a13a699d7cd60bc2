//! walbrook: change data capture in one binary.
//!
//! This crate is the daemon: commands, signals, probes, metrics. It is the only place that knows connectors *and* sinks;
//! all else lives in the crates named in `ARCHITECTURE.md`.

mod args;
mod check;
mod demo;
mod ends;
mod exit;
mod gap;
mod http;
mod log;
mod memory;
mod metrics;
mod progress;
mod replay;
mod run;
mod verify;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use walbrook_config::Config;
use walbrook_letters::Order;

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
        Command::Verify { file, capture, tables, wait } => match load_both(&file, capture.as_deref()) {
            Ok((config, capture)) => verify::verify(config, capture, &tables, Duration::from_secs(wait)).await,
            Err(code) => code,
        },
        Command::Gap { command: GapCommand::Accept { file, reason } } => match load(&file) {
            Ok(config) => gap::accept(config, &reason).await,
            Err(code) => code,
        },
        Command::Replay { file, dry_run, discard, again } => match load(&file) {
            Ok(config) => {
                let order = match (dry_run, discard) {
                    (true, _) => Order::Look,
                    (false, true) => Order::Discard,
                    (false, false) => Order::Send,
                };
                replay::replay(&config, order, again).await
            }
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
    load_both(file, None).map(|(config, _)| config)
}

/// The same with another file, whose pipeline only is asked. Logs are as the first says.
fn load_both(file: &Path, other: Option<&Path>) -> Result<(Config, Option<Config>), ExitCode> {
    let (config, other) = (read(file), other.map(read).transpose());
    let (config, other) = (config?, other?);
    log::start(&config.log).map_err(|error| exit::report(&error))?;
    Ok((config, other))
}

fn read(file: &Path) -> Result<Config, ExitCode> {
    Config::load(file).map_err(|problems| {
        for problem in &problems {
            eprintln!("{problem}");
        }
        ExitCode::from(walbrook_config::EXIT_CONFIG)
    })
}
