//! What comes after an error: the one place that decides it, from the error's kind.
//!
//! | kind | then |
//! |---|---|
//! | transient | the pipeline starts again after a pause, from the sink's checkpoint |
//! | gap | nothing is acknowledged or repaired; waits until an operator has changed the sink's checkpoint |
//! | config, data, bug | the pipeline stops with the error |

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};
use walbrook_model::{Checkpoint, Error, ErrorKind, Result, Sink, Source};

use crate::health::{Health, State};
use crate::pipeline::{self, Stop};

/// Makes the ends of a pipeline, anew for each start.
#[async_trait]
pub trait Ends: Send + Sync {
    /// The source.
    fn source(&self) -> Box<dyn Source>;
    /// The sink.
    fn sink(&self) -> Box<dyn Sink>;
}

const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// A run that lasted this long was well: the next pause is short again.
const WELL_AFTER: Duration = Duration::from_mins(1);
/// How often a gap looks whether it was accepted.
const GAP_POLL: Duration = Duration::from_secs(2);

/// Runs a pipeline until it is asked to stop, its source has ended, or an error that no retry mends.
///
/// # Errors
/// Of kind config, data or bug.
pub async fn supervise(ends: &dyn Ends, queue_bytes_max: u64, stop: &Stop, health: &Health) -> Result<()> {
    let mut pause = PAUSE_FIRST;
    loop {
        health.set(State::Starting);
        let begun = Instant::now();
        let Err(error) = run_once(ends, queue_bytes_max, stop, health).await else {
            health.set(State::Stopped);
            return Ok(());
        };
        if begun.elapsed() >= WELL_AFTER {
            pause = PAUSE_FIRST;
        }
        match error.kind() {
            ErrorKind::Transient => {
                health.fail(State::Retrying, &error);
                warn!(%error, pause_ms = pause.as_millis(), "pipeline interrupted, starting again");
                tokio::select! {
                    () = sleep(jittered(pause)) => {}
                    () = stop.wait() => {}
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
            ErrorKind::Gap => {
                health.fail(State::Gap, &error);
                error!(%error, "gap: continuity of the log is not proven, nothing is acknowledged");
                wait_for_acceptance(ends, stop).await;
            }
            ErrorKind::Config | ErrorKind::Data | ErrorKind::Bug => {
                health.fail(State::Stopped, &error);
                return Err(error);
            }
        }
        if stop.asked() {
            health.set(State::Stopped);
            return Ok(());
        }
    }
}

async fn run_once(ends: &dyn Ends, queue_bytes_max: u64, stop: &Stop, health: &Health) -> Result<()> {
    let started = pipeline::start(ends.source(), ends.sink(), queue_bytes_max, stop.clone(), health.clone());
    let halves = tokio::select! {
        biased;
        halves = started => halves?,
        () = stop.wait() => return Ok(()),
    };
    pipeline::run(halves).await
}

/// Returns when the sink's checkpoint is another than at the start of the gap, or a stop is asked for.
async fn wait_for_acceptance(ends: &dyn Ends, stop: &Stop) {
    let before = checkpoint_of(ends).await;
    loop {
        tokio::select! {
            () = sleep(GAP_POLL) => {}
            () = stop.wait() => return,
        }
        match (&before, checkpoint_of(ends).await) {
            (Ok(before), Ok(now)) if *before == now => {}
            (Err(_), Err(_)) => {}
            _ => {
                info!("the sink's checkpoint has changed: the gap was accepted");
                return;
            }
        }
    }
}

async fn checkpoint_of(ends: &dyn Ends) -> Result<Option<Checkpoint>, Error> {
    ends.sink().last_checkpoint().await
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.75..1.25))
}
