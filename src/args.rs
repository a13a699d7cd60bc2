//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Change data capture: `PostgreSQL` into Iceberg tables, nothing lost, nothing doubled.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the pipeline of a configuration file until SIGTERM.
    Run {
        /// The configuration file.
        file: PathBuf,
    },
    /// Checks a configuration file, then the servers that it names; says what to change, with the exact SQL.
    Check {
        /// The configuration file.
        file: PathBuf,
        /// Only the file, without a connection to any server.
        #[arg(long)]
        offline: bool,
    },
    /// Compares the source with the lake: rows and digests per key bucket, then the keys that differ.
    Verify {
        /// The configuration file of the pipeline that writes the lake.
        file: PathBuf,
        /// If that one reads topics: the configuration file of the pipeline that writes them.
        #[arg(long, value_name = "FILE")]
        capture: Option<PathBuf>,
        /// Compare only this source table (`schema.table`); may be repeated.
        #[arg(long = "table")]
        tables: Vec<String>,
        /// How long to wait for the lake to reach the source's position, seconds.
        #[arg(long, default_value_t = 60)]
        wait: u64,
    },
    /// Runs a small order workload against an empty `PostgreSQL` and streams it into a local lake, to look at.
    Demo(crate::demo::DemoArgs),
    /// Prints the reference of every option, or an example file.
    Config {
        /// Print a commented example instead.
        #[arg(long)]
        example: bool,
    },
    /// Sends dead letters again to the topics that they are of. A merge judges them by their order, so it harms nothing to do
    /// it late, or twice.
    Replay {
        /// The configuration file of the pipeline that put them aside.
        file: PathBuf,
        /// Only say what there is.
        #[arg(long, conflicts_with = "discard")]
        dry_run: bool,
        /// Give them up instead: they were no changes, or the tables were put right otherwise. Those that only build on
        /// others are sent again.
        #[arg(long)]
        discard: bool,
        /// Begin with the first that is there, not behind those that were dealt with; and give up those too that are nowhere
        /// any more, with --discard.
        #[arg(long)]
        again: bool,
    },
    /// What to do about a gap: a log whose continuity cannot be proven.
    Gap {
        #[command(subcommand)]
        command: GapCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GapCommand {
    /// Accepts the gap, if there is one: raises the generation, takes a new snapshot and sweeps what the source no longer has.
    Accept {
        /// The configuration file.
        file: PathBuf,
        /// Why, for the record in the checkpoint.
        #[arg(long)]
        reason: String,
    },
}
