//! The thread that reads the topics: librdkafka is asked for messages, and they are decoded, in one place.
//!
//! It is a thread and no task since librdkafka's calls block. Everything that it waits for has an end: a message, an answer of
//! the registry, room in the outbox (or nobody who takes from it any more).
//!
//! The topics take turns, and each gives what its merge lets go. One that has to wait, for a schema or for what another of its
//! partitions may hold, leaves its messages where they are.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, watch};
use walbrook_envelope::headers;
use walbrook_model::{Batch, Checkpoint, Error, ErrorKind, Result, Seq};

use crate::building::Building;
use crate::client::{self, Consumer};
use crate::fetch::{Fetch, Lane};
use crate::ownership::Membership;
use crate::positions::Positions;
use crate::raw::Raw;
use crate::readers::{Lookup, read_seq};
use crate::reading::Reading;
use crate::status::{State, Status, TopicStatus};
use crate::topic::{Taken, Topic};
use crate::{continuity, events, letters};
use walbrook_config::KafkaSource;
use walbrook_letters::Outbox;

/// Batches between the worker and `next_batch`; with the one that is built they are the bound of what is decoded.
pub(crate) const OUTBOX_BATCHES: usize = 4;
/// How long the worker waits for a message before it looks whether it shall stop.
const POLL: Duration = Duration::from_millis(20);
/// Messages that a topic gives before it is another's turn.
const TURN_MESSAGES: usize = 1024;
/// How often positions move that no message moves.
const PASS_INTERVAL: Duration = Duration::from_millis(500);
/// How often the brokers are asked for topics while some are missing.
const LOOK_SOON: Duration = Duration::from_secs(2);
/// How often they are asked else: partitions may be added.
const LOOK_LATER: Duration = Duration::from_secs(30);
/// How often the group is told how far we are, for people who look there.
const TELL_GROUP: Duration = Duration::from_secs(5);

/// The thread's state.
pub(crate) struct Worker {
    pub(crate) settings: Arc<KafkaSource>,
    /// Fetches nothing, so that it answers soon.
    pub(crate) asked: Consumer,
    pub(crate) reading: Reading,
    pub(crate) lookup: Lookup,
    pub(crate) status: Arc<Status>,
    pub(crate) outbox: mpsc::Sender<Batch>,
    /// `None`: a message that cannot be decoded stops its table.
    pub(crate) outbox_of_letters: Option<Outbox>,
    pub(crate) durable: watch::Receiver<Option<Checkpoint>>,
    pub(crate) stop: Arc<AtomicBool>,
    /// With the generation of what we own; `None`: all is ours.
    pub(crate) membership: Option<(Membership, u64)>,
    pub(crate) building: Building,
    pub(crate) connection: Connection,
    /// The topic whose turn it is.
    pub(crate) turn: usize,
    /// No checkpoint was handed over, and the sink has none.
    pub(crate) first: bool,
}

/// Whether the brokers were heard of last.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    lost: bool,
}

/// Nobody takes batches any more.
struct Closed;

/// When something was done last.
struct Clock {
    passed: Instant,
    looked: Instant,
    told: Instant,
}

impl Worker {
    /// Reads until a stop or an error.
    pub(crate) fn run(mut self) -> Result<()> {
        let result = self.read().map_err(continuity::with_way_on);
        match &result {
            Ok(()) => self.status.set_state(State::Stopped),
            Err(error) if error.kind() == ErrorKind::Gap => {
                self.status.set_state(State::Gap);
                events::gap_found(error);
            }
            Err(_) => self.status.set_state(State::Reconnecting),
        }
        result
    }

    fn read(&mut self) -> Result<()> {
        self.status.set_state(State::Streaming);
        // What was found at the start is pinned at once.
        self.building.due = true;
        let begun = Instant::now();
        let mut clock = Clock { passed: begun, looked: begun, told: begun };
        loop {
            for topic in &mut self.reading.topics {
                // So that its lag is shown before its first message.
                let open_letters = Some(topic.open_letters() as u64);
                self.status.count(&topic.name, &TopicStatus { open_letters, ..TopicStatus::default() });
                topic.merge.forget_heads();
            }
            let fetch = Fetch::begin(&self.settings, &self.status, self.reading.wanted(&self.settings))?;
            if self.read_from(&fetch, &mut clock)?.is_break() {
                return Ok(());
            }
        }
    }

    /// Reads until there are other partitions to read.
    fn read_from(&mut self, fetch: &Fetch, clock: &mut Clock) -> Result<ControlFlow<()>> {
        let mut lanes = fetch.lanes()?;
        while !self.stop.load(Ordering::Relaxed) {
            fetch.look(&mut lanes);
            if let Some(error) = fetch.serve()? {
                self.connection.hear(error, &self.status)?;
            }
            let nothing = self.round(&mut lanes)? == 0;
            if (nothing || self.building.is_full()) && self.flush()?.is_err() {
                return Ok(ControlFlow::Break(()));
            }
            if self.by_the_clock(clock, fetch, &lanes)? {
                return Ok(ControlFlow::Continue(()));
            }
            if nothing && self.building.is_empty() && !fetch.wait(POLL) {
                Fetch::look_everywhere(&mut lanes);
            }
        }
        Ok(ControlFlow::Break(()))
    }

    /// Lets every topic have its turn, but no longer than until the batch is full. How many messages were taken.
    fn round(&mut self, lanes: &mut [Lane<'_>]) -> Result<usize> {
        let mut taken = 0;
        let mut rest = lanes;
        let mut mine = Vec::with_capacity(self.reading.topics.len());
        for topic in &self.reading.topics {
            let (lanes, others) = rest.split_at_mut(topic.partitions().min(rest.len()));
            mine.push(lanes);
            rest = others;
        }
        for lane in rest {
            taken += self.take_records(lane)?;
        }
        let topics = mine.len();
        for _ in 0..topics {
            if self.building.is_full() {
                break;
            }
            let turn = self.turn % topics;
            self.turn = turn + 1;
            if let Some(lanes) = mine.get_mut(turn) {
                taken += self.take_from(turn, lanes)?;
            }
        }
        Ok(taken)
    }

    fn take_records(&mut self, lane: &mut Lane<'_>) -> Result<usize> {
        let mut taken = 0;
        while let Some(message) = lane.poll() {
            match message {
                Ok(message) => {
                    self.connection.is_well(&self.status);
                    self.building.due |= self.reading.take_record(&self.settings, &message);
                    taken += 1;
                }
                Err(error) => self.connection.hear(error, &self.status)?,
            }
        }
        Ok(taken)
    }

    /// Takes what a topic lets go.
    fn take_from(&mut self, turn: usize, lanes: &mut [Lane<'_>]) -> Result<usize> {
        let Self { reading, building, lookup, status, connection, settings, outbox_of_letters: outbox, .. } = self;
        let Reading { topics, logs, .. } = reading;
        let Some(topic) = topics.get_mut(turn).filter(|topic| topic.waits_until().is_none()) else { return Ok(0) };
        let mut taken = 0;
        for (partition, lane) in lanes.iter_mut().enumerate() {
            taken += fill(topic, partition, lane, connection, status)?;
        }
        while taken < TURN_MESSAGES && !building.is_full() {
            let Some(partition) = topic.merge.next() else { break };
            let Some(lane) = lanes.get_mut(partition) else { return Err(Error::bug("a partition without a lane")) };
            let Some(message) = lane.head.take() else { return Err(Error::bug("a head without a message")) };
            let headers = headers_of(&message);
            let raw = Raw::new(&message, headers.as_deref());
            let Building { changes, arena, .. } = building;
            let mut push = |change, lineage| changes.push(change, lineage);
            match topic.take_head(lookup, logs, arena, &raw, &mut push)? {
                Taken::Read => {}
                Taken::Waits => {
                    drop(headers);
                    lane.head = Some(message);
                    break;
                }
                Taken::Undecodable(reason, error) => match (&settings.dead_letters, &*outbox) {
                    (Some(dead), Some(outbox)) => {
                        letters::put_aside((dead, outbox), topic, &message, &raw, (reason, error), push)?;
                    }
                    _ => topic.leave_head_out(&raw, error, push),
                },
            }
            taken += 1 + fill(topic, partition, lane, connection, status)?;
        }
        topic.let_go(|change, lineage| building.changes.push(change, lineage));
        Ok(taken)
    }

    /// Hands over what there is, if there is anything.
    fn flush(&mut self) -> Result<std::result::Result<(), Closed>> {
        let (changes, lineage) = self.building.changes.take();
        // The newest change tells nothing of other tables: each topic is read in an order of its own.
        let covered = Some(self.reading.covered().unwrap_or_default());
        let mut batch = Batch { changes, lineage, covered, logs: self.reading.logs.tell(), ..Batch::heartbeat() };
        for topic in &mut self.reading.topics {
            if let Some(counts) = topic.tell_counts() {
                self.status.count(&topic.name, &counts);
                // Positions have moved.
                self.building.due = true;
            }
            batch.stopped.extend(topic.tell_stop());
            batch.unordered.extend(topic.tell_unordered());
        }
        if !std::mem::take(&mut self.building.due) && batch.logs.is_none() {
            return Ok(Ok(()));
        }
        if !self.building.changes.is_empty() {
            // Positions have gone past the first change of another log, which is not in this batch.
            self.building.due = true;
            return Ok(self.outbox.blocking_send(batch).map_err(|_| Closed));
        }
        let moved = self.reading.advance(&self.settings);
        if moved {
            let (covered, complete_until_us) = (self.reading.covered(), self.reading.watermark.complete_until_us());
            batch.covered = covered.or(batch.covered);
            batch.complete_until_us = complete_until_us;
            self.status.set_watermark(covered, complete_until_us);
        }
        if self.is_idle() {
            return Ok(self.outbox.blocking_send(batch).map_err(|_| Closed));
        }
        let checkpoint = self.reading.positions().to_checkpoint()?;
        let same = self.building.handed.as_ref() == Some(&checkpoint);
        if same && !moved && batch.changes.is_empty() && batch.stopped.is_empty() && batch.logs.is_none() {
            return Ok(Ok(()));
        }
        self.building.handed = Some(checkpoint.clone());
        batch.checkpoint = Some(checkpoint);
        // Before any data: data without a checkpoint would be a gap.
        batch.urgent = std::mem::take(&mut self.first);
        Ok(self.outbox.blocking_send(batch).map_err(|_| Closed))
    }

    /// Whether the consumer group has given us nothing: there is no progress of ours to be kept.
    fn is_idle(&self) -> bool {
        self.membership.is_some() && self.reading.topics.is_empty()
    }

    /// Does what is due. Whether other partitions are to be read now.
    fn by_the_clock(&mut self, clock: &mut Clock, fetch: &Fetch, lanes: &[Lane<'_>]) -> Result<bool> {
        if self.membership.as_ref().is_some_and(|(membership, generation)| !membership.is_current(*generation)) {
            return Err(Error::transient("the assignment changed").on(format!("group {}", self.settings.group)));
        }
        let now = Instant::now();
        self.reading.try_again(now);
        if now >= clock.passed + PASS_INTERVAL {
            clock.passed = now;
            // It has nothing to say that the other one does not say.
            let _ = self.asked.poll(Duration::ZERO);
            for (place, offset) in fetch.passed(lanes) {
                self.reading.passed(place, offset);
            }
            self.reading.topics.iter_mut().for_each(|topic| topic.tell_waiting(now));
            self.building.due = true;
        }
        if now >= clock.told + TELL_GROUP {
            clock.told = now;
            self.tell_group();
        }
        let every = if self.reading.is_whole(&self.settings) { LOOK_LATER } else { LOOK_SOON };
        if now < clock.looked + every {
            return Ok(false);
        }
        clock.looked = now;
        let known = self.reading.topics.len();
        let more = match self.reading.look_again(&self.asked, &self.settings) {
            Ok(more) => more,
            // Brokers that are away now may be back at the next look; it may have found a topic before.
            Err(error) if error.kind() == ErrorKind::Transient => self.reading.topics.len() > known,
            Err(error) => return Err(error),
        };
        self.building.due |= more;
        Ok(more)
    }

    /// Shows the group how far the sink is. Nothing is read from there.
    fn tell_group(&mut self) {
        if !self.durable.has_changed().unwrap_or(false) {
            return;
        }
        let Some(durable) = self.durable.borrow_and_update().clone() else { return };
        let Ok(positions) = Positions::from_checkpoint(&durable) else { return };
        let mut list = TopicPartitionList::new();
        let ours = |name: &String| self.reading.topics.iter().any(|topic| topic.name == *name);
        for (name, topic) in positions.topics.iter().filter(|(name, _)| ours(name)) {
            for (partition, position) in topic.partitions.iter().enumerate() {
                let partition = i32::try_from(partition).unwrap_or(i32::MAX);
                // Only offsets that are none are refused.
                let _ = list.add_partition_offset(name, partition, Offset::Offset(position.next));
            }
        }
        match &self.membership {
            Some((membership, _)) => membership.tell(&list),
            None => {
                // Refused while the group has members; then it is for them to say.
                let _ = self.asked.commit(&list, CommitMode::Async);
            }
        }
    }
}

impl Connection {
    /// # Errors
    /// Those after which librdkafka does not go on by itself.
    fn hear(&mut self, error: KafkaError, status: &Status) -> Result<()> {
        if let Some(error) = client::failure(error) {
            return Err(error);
        }
        self.lost = true;
        status.set_state(State::Reconnecting);
        Ok(())
    }

    fn is_well(&mut self, status: &Status) {
        if std::mem::take(&mut self.lost) {
            status.set_state(State::Streaming);
        }
    }
}

/// Gets the next message of a partition, if it has none. How many were there that say nothing.
fn fill(
    topic: &mut Topic,
    partition: usize,
    lane: &mut Lane<'_>,
    connection: &mut Connection,
    status: &Status,
) -> Result<usize> {
    let mut skipped = 0;
    while lane.head.is_none() {
        let message = match lane.poll() {
            None => break,
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                connection.hear(error, status)?;
                continue;
            }
        };
        connection.is_well(status);
        if !topic.is_new(&Raw::new(&message, None))? {
            skipped += 1;
            continue;
        }
        let token = if topic.merge.needs_tokens() { token_of(&message) } else { Seq::ZERO };
        topic.merge.arrived(partition, token);
        lane.head = Some(message);
    }
    Ok(skipped)
}

/// The order token; that of no change if the message has none.
fn token_of(message: &BorrowedMessage<'_>) -> Seq {
    let Some(headers) = message.headers() else { return Seq::ZERO };
    let find = || headers.iter().find(|header| header.key == headers::SEQ).and_then(|header| read_seq(header.value?));
    catch_unwind(AssertUnwindSafe(find)).ok().flatten().unwrap_or(Seq::ZERO)
}

/// The headers that have a value; `None` if a name is no text: the client panics on it.
fn headers_of<'m>(message: &'m BorrowedMessage<'_>) -> Option<Vec<(&'m str, &'m [u8])>> {
    let Some(headers) = message.headers() else { return Some(Vec::new()) };
    let read = || {
        let mut found = Vec::with_capacity(headers.count());
        found.extend(headers.iter().filter_map(|header| Some((header.key, header.value?))));
        found
    };
    catch_unwind(AssertUnwindSafe(read)).ok()
}
