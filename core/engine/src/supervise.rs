//! What comes after an error: the one place that decides it, from the error's kind.
//!
//! | kind | then |
//! |---|---|
//! | transient | the pipeline starts again after a pause, from the sink's checkpoint |
//! | gap | nothing is acknowledged or repaired; waits until an operator has changed the sink's checkpoint |
//! | config, data, fenced, bug | the pipeline stops with the error |

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};
use walbrook_model::{ErrorKind, Result, Sink, Source};

use crate::health::{Health, Seen, State};
use crate::pipeline::{self, Stop};

/// Makes the ends of a pipeline, anew for each start.
#[async_trait]
pub trait Ends: Send + Sync {
    /// The source.
    fn source(&self) -> Box<dyn Source>;
    /// The sink.
    fn sink(&self) -> Box<dyn Sink>;
    /// Nothing of the run that has ended reads or writes any more: others may have what was its own.
    fn let_go(&self) {}
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
/// Of kind config, data, fenced or bug.
pub async fn supervise(ends: &dyn Ends, queue_bytes_max: u64, stop: &Stop, health: &Health) -> Result<()> {
    let mut pause = PAUSE_FIRST;
    loop {
        // A gap is one until the pipeline runs.
        if health.get().0 != State::Gap {
            health.set(State::Starting);
        }
        let begun = Instant::now();
        let ended = run_once(ends, queue_bytes_max, stop, health).await;
        ends.let_go();
        let Err(error) = ended else {
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
                wait_for_acceptance(ends, health.seen(), stop).await;
            }
            ErrorKind::Config | ErrorKind::Data | ErrorKind::Fenced | ErrorKind::Bug => {
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

/// Returns when the sink's checkpoint is another than the run that met the gap last knew, or a stop is asked for. One that is
/// read only now might be the accepted one already. (Where several processes write it, it changes without that too.)
async fn wait_for_acceptance(ends: &dyn Ends, before: Seen, stop: &Stop) {
    loop {
        tokio::select! {
            () = sleep(GAP_POLL) => {}
            () = stop.wait() => return,
        }
        match (&before, ends.sink().last_checkpoint().await) {
            (Seen::Held(before), Ok(now)) if *before == now => {}
            (Seen::Unknown, Err(_)) => {}
            _ => {
                info!("the sink's checkpoint has changed: is there still a gap?");
                return;
            }
        }
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.75..1.25))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::time::timeout;
    use walbrook_model::{Batch, Checkpoint, Error};

    use super::*;

    /// A source that meets a gap until the sink's checkpoint is `accepted`.
    #[derive(Clone, Default)]
    struct World(Arc<Mutex<Inner>>);

    #[derive(Default)]
    struct Inner {
        checkpoint: Option<&'static str>,
        /// What the checkpoint becomes as soon as a start has met the gap.
        then: Option<&'static str>,
        sink_fails: bool,
        starts: usize,
    }

    struct SimSource(World);
    struct SimSink(World);

    #[async_trait]
    impl Source for SimSource {
        async fn start(&mut self, from: Option<Checkpoint>) -> Result<()> {
            let mut world = self.0.0.lock().unwrap();
            world.starts += 1;
            if from == Some(Checkpoint::new("accepted")) {
                return Ok(());
            }
            world.checkpoint = world.then.take().or(world.checkpoint);
            Err(Error::gap("the slot is gone"))
        }
        async fn next_batch(&mut self, _: Option<Checkpoint>) -> Result<Batch> {
            Ok(Batch::heartbeat())
        }
        fn finished(&self) -> bool {
            true
        }
        async fn stop(&mut self, _: Option<Checkpoint>) -> Result<()> {
            Ok(())
        }
    }

    #[async_trait]
    impl Sink for SimSink {
        async fn last_checkpoint(&mut self) -> Result<Option<Checkpoint>> {
            let world = self.0.0.lock().unwrap();
            if world.sink_fails { Err(Error::gap("no checkpoint")) } else { Ok(world.checkpoint.map(Checkpoint::new)) }
        }
        async fn write(&mut self, _: Batch) -> Result<()> {
            Ok(())
        }
        fn durable(&self) -> Option<Checkpoint> {
            None
        }
        async fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    impl Ends for World {
        fn source(&self) -> Box<dyn Source> {
            Box::new(SimSource(self.clone()))
        }
        fn sink(&self) -> Box<dyn Sink> {
            Box::new(SimSink(self.clone()))
        }
    }

    /// Whether the pipeline gets over the gap by itself, and how often it started.
    async fn outcome(world: &World) -> (bool, usize) {
        let run = async { supervise(world, 1024, &Stop::default(), &Health::default()).await };
        let ended = timeout(Duration::from_mins(10), run).await;
        assert!(ended.as_ref().is_ok_and(Result::is_ok) || ended.is_err());
        (ended.is_ok(), world.0.lock().unwrap().starts)
    }

    fn world(inner: Inner) -> World {
        World(Arc::new(Mutex::new(inner)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_waits_for_its_acceptance() {
        let world = world(Inner { checkpoint: Some("old"), ..Inner::default() });
        assert_eq!(outcome(&world).await, (false, 1));
        world.0.lock().unwrap().checkpoint = Some("accepted");
        assert_eq!(outcome(&world).await, (true, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_acceptance_right_after_the_gap_was_met_is_seen() {
        let met = world(Inner { checkpoint: Some("old"), then: Some("accepted"), ..Inner::default() });
        assert_eq!(outcome(&met).await, (true, 2));
        let first = world(Inner { then: Some("accepted"), ..Inner::default() });
        assert_eq!(outcome(&first).await, (true, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_is_in_a_gap_itself_is_asked_until_it_can_say() {
        let world = world(Inner { sink_fails: true, checkpoint: Some("accepted"), ..Inner::default() });
        let heal = async {
            sleep(Duration::from_mins(1)).await;
            assert_eq!(world.0.lock().unwrap().starts, 0);
            world.0.lock().unwrap().sink_fails = false;
        };
        let (outcome, ()) = tokio::join!(outcome(&world), heal);
        assert_eq!(outcome, (true, 1));
    }
}
