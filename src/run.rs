//! `walbrook run`: one pipeline, from its configuration to its end.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use walbrook_config::Config;
use walbrook_engine::health::Health;
use walbrook_engine::pipeline::Stop;
use walbrook_engine::supervise::{Ends, supervise};
use walbrook_model::{Error, Result, Sink, Source};

use crate::ends::{LakeEnd, SinkEnd, SinkStatus, SourceEnd, SourceStatus};
use crate::{exit, http, metrics, progress};

/// What the pipeline that runs now shows of itself; replaced at each start of it.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) source: SourceStatus,
    pub(crate) sink: SinkStatus,
}

/// One configured pipeline: makes its ends, and knows how it is.
#[derive(Clone)]
pub(crate) struct Pipeline {
    pub(crate) config: Config,
    pub(crate) source: SourceEnd,
    pub(crate) sink: SinkEnd,
    pub(crate) health: Health,
    pub(crate) stop: Stop,
    watched: Arc<Mutex<Watched>>,
}

impl Pipeline {
    /// A pipeline that does nothing yet.
    ///
    /// # Errors
    /// Of kind config, if the warehouse cannot be used, or these two ends do not go together.
    pub(crate) fn new(config: Config) -> Result<Self> {
        let source = SourceEnd::new(&config)?;
        let sink = SinkEnd::new(&config)?;
        let watched = Watched { source: source.source().1, sink: sink.sink().1 };
        Ok(Self {
            config,
            source,
            sink,
            health: Health::default(),
            stop: Stop::default(),
            watched: Arc::new(Mutex::new(watched)),
        })
    }

    /// What it shows of itself.
    pub(crate) fn watched(&self) -> Watched {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lake that it writes to.
    ///
    /// # Errors
    /// Of kind config, if it writes to something else.
    pub(crate) fn lake(&self) -> Result<&LakeEnd> {
        match &self.sink {
            SinkEnd::Lake(lake) => Ok(lake),
            SinkEnd::Kafka(_) => Err(Error::config("only a lake can be compared with the source")
                .on("[sink.kafka]")
                .remedy("verify the pipeline that merges the topics into a lake")),
        }
    }

    /// Runs until it is asked to stop or cannot go on.
    ///
    /// # Errors
    /// What no retry mends.
    pub(crate) async fn run(&self) -> Result<()> {
        self.source.join()?;
        let ended = supervise(self, self.config.pipeline.buffer_bytes, &self.stop, &self.health).await;
        self.source.leave().await;
        ended
    }
}

impl Ends for Pipeline {
    fn let_go(&self) {
        self.source.let_go();
    }

    fn source(&self) -> Box<dyn Source> {
        let (source, status) = self.source.source();
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).source = status;
        source
    }

    fn sink(&self) -> Box<dyn Sink> {
        let (sink, status) = self.sink.sink();
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).sink = status;
        sink
    }
}

/// Runs the pipeline of `config` with its probes, until a signal.
pub(crate) async fn run(config: Config) -> ExitCode {
    match serve(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, kind = %error.kind(), "stopped");
            exit::code(&error)
        }
    }
}

async fn serve(config: Config) -> Result<()> {
    let grace = config.pipeline.grace_period;
    let listen = config.http.listen;
    let pipeline = Pipeline::new(config)?;
    let address = http::serve(listen, metrics::registry(&pipeline), pipeline.health.clone()).await?;
    info!(pipeline = %pipeline.config.pipeline.name, http = %address, version = env!("CARGO_PKG_VERSION"), "walbrook");
    stop_on_signal(pipeline.stop.clone())?;
    progress::show(&pipeline);
    let stop = pipeline.stop.clone();
    let mut run = std::pin::pin!(pipeline.run());
    tokio::select! {
        result = &mut run => return result,
        () = stop.wait() => {}
    }
    info!("stopping: draining, flushing, writing the last checkpoint");
    match tokio::time::timeout(grace, run).await {
        Ok(result) => result.inspect(|()| info!("stopped")),
        Err(_) => Err(Error::transient(format!("not drained within {} s", grace.as_secs()))
            .on("shutdown")
            .remedy("nothing is lost: the next start does the rest again; raise pipeline.grace_period if it recurs")),
    }
}

/// The first SIGTERM or SIGINT asks the pipeline to stop, the second ends the process.
fn stop_on_signal(stop: Stop) -> Result<()> {
    let listen = |kind| signal(kind).map_err(|error| Error::bug("cannot listen for signals").because(error));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.asked() {
                warn!("second signal: ending at once");
                std::process::exit(i32::from(exit::FAILED));
            }
            stop.ask();
        }
    });
    Ok(())
}

/// Time between two looks at a state that changes by itself.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
