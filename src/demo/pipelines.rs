//! The pipelines of a demo: one into the lake, or one into topics and one from there.

use tokio::task::JoinHandle;
use walbrook_config::Config;
use walbrook_engine::health::State;
use walbrook_model::{Error, Result};

use super::DemoArgs;
use crate::progress;
use crate::run::Pipeline;
use crate::verify::Pair;

/// What runs.
pub(super) struct Pipelines {
    pub(super) lake: Pipeline,
    /// `None`: the other one reads the database.
    capture: Option<Pipeline>,
}

impl Pipelines {
    /// # Errors
    /// Of kind config, if the arguments make no configuration.
    pub(super) fn new(args: &DemoArgs) -> Result<Self> {
        let folder = std::path::absolute(&args.folder)
            .map_err(|error| Error::config("not a folder").on(args.folder.display().to_string()).because(error))?;
        let database = format!(
            "[source.postgres]\nhost = {}\nport = {}\ndatabase = {}\nuser = {}\n\n\
             [source.postgres.tables]\ninclude = [\"shop.*\"]\n",
            quoted(&args.host),
            args.port,
            quoted(&args.database),
            quoted(&args.user),
        );
        let lake = format!("[sink.lake]\nwarehouse = {}\n", quoted(&folder.display().to_string()));
        let (Some(broker), Some(registry)) = (&args.broker, &args.registry) else {
            return Ok(Self { lake: pipeline("demo", &database, &lake)?, capture: None });
        };
        let client = |end: &str, more: &str| {
            let (broker, registry) = (quoted(broker), quoted(registry));
            format!("[{end}]\nbrokers = [{broker}]\n{more}\n\n[{end}.registry]\nurl = {registry}\n")
        };
        let topics = client("sink.kafka", "replication_factor = 1");
        let merged = client("source.kafka", "topics = [\"demo.shop.*\"]\ncapture = \"demo\"");
        let capture = Some(pipeline("demo", &database, &topics)?);
        Ok(Self { lake: pipeline("demo_merge", &merged, &lake)?, capture })
    }

    fn all(&self) -> impl Iterator<Item = &Pipeline> {
        self.capture.iter().chain([&self.lake])
    }

    /// What is about to start.
    pub(super) fn name(&self) -> &'static str {
        match self.capture {
            None => "the pipeline starts",
            Some(_) => "capture and merge start",
        }
    }

    /// Starts all of them.
    pub(super) fn start(&self) -> Vec<JoinHandle<Result<()>>> {
        let run = |pipeline: &Pipeline| {
            let pipeline = pipeline.clone();
            tokio::spawn(async move { pipeline.run().await })
        };
        self.all().map(run).collect()
    }

    /// Asks all of them to stop.
    pub(super) fn stop(&self) {
        for pipeline in self.all() {
            pipeline.stop.ask();
        }
    }

    /// Rows in the lake.
    ///
    /// # Errors
    /// If a pipeline has stopped.
    pub(super) fn lake_rows(&self) -> Result<u64> {
        for pipeline in self.all() {
            if let (State::Stopped | State::Gap, Some(cause)) = pipeline.health.get() {
                return Err(Error::config(cause));
            }
        }
        Ok(progress::lake_rows(&self.lake))
    }

    /// Prints how each of them is.
    pub(super) fn show(&self) {
        match &self.capture {
            None => println!("  {}", progress::line(&self.lake)),
            Some(capture) => {
                println!("  capture  {}", progress::line(capture));
                println!("  merge    {}", progress::line(&self.lake));
            }
        }
    }

    /// What is compared at the end.
    ///
    /// # Errors
    /// Of kind config, if these cannot be compared.
    pub(super) fn pair(&self) -> Result<Pair<'_>> {
        Pair::new(&self.lake, self.capture.as_ref())
    }
}

fn pipeline(name: &str, source: &str, sink: &str) -> Result<Pipeline> {
    let text = format!("[pipeline]\nname = \"{name}\"\n\n{source}\n{sink}\n[log]\nlevel = \"warn\"\n");
    let config = Config::parse(&text, "demo.toml", &|_| None).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::config(lines.join("\n"))
    })?;
    Pipeline::new(config)
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}
