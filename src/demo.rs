//! `walbrook demo`: a small order workload, streamed into a local lake, through Kafka or not, compared, and shown.
//!
//! It shows what a first look wants to see: inserts, updates, deletes, a changed key, an added column, the lag while it
//! runs, and that the lake equals the source at the end.

mod pipelines;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::time::sleep;
use tokio_postgres::NoTls;
use walbrook_model::{Error, Result};

use crate::{exit, log, verify};
use pipelines::Pipelines;
use workload::Workload;

/// What a demo needs to know.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Host, or the folder of a Unix socket, of a `PostgreSQL` that may be written to.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port.
    #[arg(long, default_value_t = 5432)]
    port: u16,
    /// Role that may create tables and replicate; no password is used.
    #[arg(long, default_value = "postgres")]
    user: String,
    /// Database; the demo makes a schema `shop` in it.
    #[arg(long, default_value = "postgres")]
    database: String,
    /// Folder for the lake.
    #[arg(long)]
    folder: PathBuf,
    /// A broker of Kafka, as host:port: changes go through topics, and a second pipeline merges them. Needs --registry.
    #[arg(long, requires = "registry")]
    broker: Option<String>,
    /// Address of the schema registry.
    #[arg(long, requires = "broker")]
    registry: Option<String>,
    /// How long the workload runs, seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
}

/// Runs the demo.
pub(crate) async fn demo(args: DemoArgs) -> ExitCode {
    match show(&args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit::FAILED),
        Err(error) => exit::report(&error),
    }
}

async fn show(args: &DemoArgs) -> Result<bool> {
    let begun = Instant::now();
    let pipelines = Pipelines::new(args)?;
    log::start(&pipelines.lake.config.log)?;
    let workload = Workload::create(connect(args).await?).await?;
    println!("created shop.customers and shop.orders with 10,000 orders; {}", pipelines.name());
    let running = pipelines.start();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let result = tokio::select! {
        result = stream(&pipelines, workload, args, begun) => result,
        _ = &mut interrupted => Err(Error::transient("interrupted")),
    };
    pipelines.stop();
    let mut ended = Ok(());
    for pipeline in running {
        let end = pipeline.await.unwrap_or_else(|error| Err(Error::bug("a pipeline panicked").because(error)));
        ended = ended.and(end);
    }
    let equal = result?;
    ended?;
    Ok(equal)
}

/// From the first row to the comparison.
async fn stream(pipelines: &Pipelines, mut workload: Workload, args: &DemoArgs, begun: Instant) -> Result<bool> {
    while pipelines.lake_rows()? == 0 {
        sleep(crate::run::LOOK).await;
    }
    println!("first rows in the lake {:.1} s after the start\n", begun.elapsed().as_secs_f64());
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut line = Instant::now();
    let mut added = false;
    while Instant::now() < end {
        workload.step().await?;
        if !added && end - Instant::now() < Duration::from_secs(args.seconds) / 2 {
            workload.add_column().await?;
            println!("  ALTER TABLE shop.orders ADD COLUMN priority integer NOT NULL DEFAULT 3");
            added = true;
        }
        if line.elapsed() >= Duration::from_secs(1) {
            pipelines.show();
            line = Instant::now();
        }
        sleep(Duration::from_millis(10)).await;
    }
    println!("\n{}\ncomparing the lake with the source", workload.summary());
    let equal = verify::compare(&pipelines.pair()?, &[], Duration::from_mins(1)).await?;
    println!("{}", look(&args.folder));
    Ok(equal)
}

async fn connect(args: &DemoArgs) -> Result<tokio_postgres::Client> {
    let mut settings = tokio_postgres::Config::new();
    settings.host(&args.host).port(args.port).user(&args.user).dbname(&args.database).application_name("walbrook demo");
    let failed = |error| Error::config("cannot connect").on(format!("PostgreSQL at {}", args.host)).because(error);
    let (client, connection) = settings.connect(NoTls).await.map_err(failed)?;
    tokio::spawn(connection);
    Ok(client)
}

/// How to look at the result with an engine that we did not write.
fn look(folder: &Path) -> String {
    let table = folder.join("shop").join("orders");
    format!(
        "\nLook at it with DuckDB:\n\n  INSTALL iceberg; LOAD iceberg; SET unsafe_enable_version_guessing = true;\n  \
         SELECT status, count(*), sum(amount) FROM iceberg_scan('{}') GROUP BY ALL ORDER BY ALL;\n",
        table.display()
    )
}
