//! Seeded simulation of the real pipeline between a simulated source and a simulated sink, on a simulated clock.
//!
//! What survives a crash is the [`world`]: the server's log and slot, the sink's durable table and checkpoint. A crash
//! is the pipeline's future being dropped between two of its polls, so it can happen at every await. Each seed draws a
//! log, batch cuts, commit moments, transient faults and crashes; afterwards everything heals, and the sink must hold
//! exactly what a naive replay of the log gives. At each acknowledgement the contracts are checked on the spot.
//!
//! A failing seed says how to replay it:
//! `WALBROOK_SIM_SEED=17 cargo test -p walbrook-engine --test simulation -- --nocapture`

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

mod sink;
mod source;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future;
use rand::Rng;
use walbrook_engine::health::Health;
use walbrook_engine::pipeline::{self, Stop};
use walbrook_model::ErrorKind;

use crate::sink::SimSink;
use crate::source::SimSource;
use crate::world::{Bug, World, rng};

const SEEDS: u64 = 1_000;
const QUEUE_BYTES: u64 = 4_096;

#[test]
fn contracts_hold_over_every_seed() {
    if let Some(seed) = std::env::var("WALBROOK_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return simulate(seed, None);
    }
    let crashes: u64 = (0..SEEDS)
        .map(|seed| {
            catch_unwind(AssertUnwindSafe(|| run(seed, None))).unwrap_or_else(|_| {
                panic!(
                    "seed {seed} failed; replay it with WALBROOK_SIM_SEED={seed} \
                     cargo test -p walbrook-engine --test simulation -- --nocapture"
                )
            })
        })
        .sum();
    println!("{SEEDS} seeds, {crashes} crashes");
    assert!(crashes > SEEDS, "the simulation hardly crashed anything");
}

/// Every planted bug is found within a few hundred seeds, or the simulation proves nothing.
#[test]
fn planted_bugs_turn_it_red() {
    for bug in Bug::ALL {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let found = (0..400).find(|seed| catch_unwind(|| simulate(*seed, Some(bug))).is_err());
        std::panic::set_hook(hook);
        let seed = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!("{bug:?}: found by seed {seed}");
    }
}

#[test]
fn one_seed_is_one_history() {
    for seed in [3, 77, 501] {
        assert_eq!(history(seed), history(seed), "seed {seed} is not deterministic");
    }
}

fn history(seed: u64) -> String {
    let world = World::new(seed, None);
    in_simulated_time(drive(&world));
    world.history()
}

fn simulate(seed: u64, bug: Option<Bug>) {
    run(seed, bug);
}

/// Runs one seed to its end and returns how often it crashed.
fn run(seed: u64, bug: Option<Bug>) -> u64 {
    let world = World::new(seed, bug);
    let crashes = in_simulated_time(drive(&world));
    world.check_end();
    crashes
}

fn in_simulated_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Runs the pipeline again and again: with crashes and faults first, healed at last.
async fn drive(world: &World) -> u64 {
    let mut random = rng(world.seed() ^ 0xc4a5);
    let mut crashes = 0;
    for _ in 0..random.random_range(1..8) {
        let polls = random.random_range(1..400);
        let stop = Stop::default();
        match CrashAfter::new(polls, one_run(world, &stop)).await {
            None => crashes += 1,
            Some(Err(ErrorKind::Gap)) => return crashes,
            Some(_) => {}
        }
        world.between_runs();
    }
    world.heal();
    let stop = Stop::default();
    let ended = tokio::time::timeout(Duration::from_mins(2), async {
        let run = pin!(one_run(world, &stop));
        let watch = pin!(async {
            while !world.caught_up() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stop.ask();
            future::pending::<()>().await;
        });
        match future::select(run, watch).await {
            future::Either::Left((result, _)) => result,
            future::Either::Right(_) => unreachable!("the watch never ends"),
        }
    });
    match ended.await.expect("a healed pipeline catches up") {
        Ok(()) | Err(ErrorKind::Gap) => {}
        Err(kind) => panic!("a healed pipeline failed: {kind}"),
    }
    crashes
}

async fn one_run(world: &World, stop: &Stop) -> Result<(), ErrorKind> {
    let source = Box::new(SimSource::new(world));
    let sink = Box::new(SimSink::new(world));
    let halves = pipeline::start(source, sink, QUEUE_BYTES, stop.clone(), Health::default())
        .await
        .map_err(|error| world.failed(&error))?;
    let (read, write) = future::join(halves.source, halves.sink).await;
    write.and(read).map_err(|error| world.failed(&error))
}

/// Polls a future a number of times and then drops it: `None`.
struct CrashAfter<F> {
    future: Option<Pin<Box<F>>>,
    polls: u32,
}

impl<F: Future> CrashAfter<F> {
    fn new(polls: u32, future: F) -> Self {
        Self { future: Some(Box::pin(future)), polls }
    }
}

impl<F: Future> Future for CrashAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            self.future = None;
        }
        self.polls = self.polls.saturating_sub(1);
        match &mut self.future {
            Some(future) => future.as_mut().poll(context).map(Some),
            None => Poll::Ready(None),
        }
    }
}
