//! What is fetched: a queue for each partition, so that one that has to wait holds up no other.
//!
//! The client keeps what was fetched until it is asked for; of each partition no more than its share of `buffer_bytes`. A queue
//! that gets its first message rings a bell, so that nobody has to look at all of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use walbrook_model::{Error, Result};

use crate::client::{self, Consumer};
use crate::status::Status;
use walbrook_config::KafkaSource;

/// How long the client is asked for what it got before its queues were parted: there is hardly ever anything.
const EARLY: Duration = Duration::from_millis(2);

/// A partition to be fetched from an offset on.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: String,
    pub(crate) partition: usize,
    pub(crate) offset: i64,
}

/// A consumer with its queues.
pub(crate) struct Fetch {
    // Before the consumer that they belong to.
    queues: Vec<PartitionQueue<client::Context>>,
    wanted: Vec<Wanted>,
    bell: Arc<Bell>,
    consumer: Arc<Consumer>,
}

/// Which queues have got a message since they were last looked at.
struct Bell {
    rung: Vec<AtomicBool>,
    any: AtomicBool,
    reader: Thread,
}

impl Bell {
    fn ring(&self, place: usize) {
        if let Some(rung) = self.rung.get(place) {
            rung.store(true, Ordering::Relaxed);
        }
        self.any.store(true, Ordering::Release);
        self.reader.unpark();
    }
}

impl Fetch {
    /// Begins to fetch. Messages are to be asked for on this thread.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] for a setting that librdkafka refuses, [`walbrook_model::ErrorKind::Transient`] if
    /// it cannot fetch these partitions.
    pub(crate) fn begin(settings: &KafkaSource, status: &Arc<Status>, wanted: Vec<Wanted>) -> Result<Self> {
        // A new one each time: what another had fetched is void, and the shares are others.
        let consumer = Arc::new(client::connect(settings, status, wanted.len())?);
        assign(&consumer, &wanted).map_err(|error| Error::transient("the topics cannot be assigned").because(error))?;
        let rung = wanted.iter().map(|_| AtomicBool::new(true)).collect();
        let bell = Arc::new(Bell { rung, any: AtomicBool::new(true), reader: thread::current() });
        let mut queues = Vec::with_capacity(wanted.len());
        for (place, Wanted { topic, partition, .. }) in wanted.iter().enumerate() {
            let mut queue = consumer
                .split_partition_queue(topic, number(*partition))
                .ok_or_else(|| Error::transient("a partition has no queue").on(format!("topic {topic}")))?;
            let bell = bell.clone();
            queue.set_nonempty_callback(move || bell.ring(place));
            queues.push(queue);
        }
        Ok(Self { queues, wanted, bell, consumer })
    }

    /// The queues, in the order of what was wanted.
    ///
    /// # Errors
    /// As [`client::failure`] says.
    pub(crate) fn lanes(&self) -> Result<Vec<Lane<'_>>> {
        let lane = |queue| Lane { queue, early: VecDeque::new(), filled: true, head: None };
        let mut lanes: Vec<Lane<'_>> = self.queues.iter().map(lane).collect();
        // What came between the assignment and the parting lies in the queue of all, before what lies in its own.
        while let Some(message) = self.consumer.poll(EARLY) {
            let message = match message {
                Ok(message) => message,
                Err(error) => match client::failure(error) {
                    Some(error) => return Err(error),
                    None => continue,
                },
            };
            let is =
                |wanted: &Wanted| wanted.topic == message.topic() && number(wanted.partition) == message.partition();
            if let Some(lane) = self.wanted.iter().position(is).and_then(|place| lanes.get_mut(place)) {
                lane.early.push_back(message);
            }
        }
        Ok(lanes)
    }

    /// Notes which lanes have got messages.
    pub(crate) fn look(&self, lanes: &mut [Lane<'_>]) {
        if self.bell.any.swap(false, Ordering::Acquire) {
            for (lane, rung) in lanes.iter_mut().zip(&self.bell.rung) {
                lane.filled |= rung.swap(false, Ordering::Relaxed);
            }
        }
    }

    /// Takes it that every lane may have got messages.
    pub(crate) fn look_everywhere(lanes: &mut [Lane<'_>]) {
        for lane in lanes {
            lane.filled = true;
        }
    }

    /// Serves what the client has to say beside messages: an error, perhaps.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if a message came beside its queue: what follows it may have been taken.
    pub(crate) fn serve(&self) -> Result<Option<KafkaError>> {
        match self.consumer.poll(Duration::ZERO) {
            None => Ok(None),
            Some(Err(error)) => Ok(Some(error)),
            Some(Ok(message)) => {
                Err(Error::bug("a message came beside its queue").on(format!("topic {}", message.topic())))
            }
        }
    }

    /// Waits until a lane gets a message, or for so long. Whether one has got a message.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        if !self.bell.any.load(Ordering::Acquire) {
            thread::park_timeout(patience);
        }
        self.bell.any.load(Ordering::Acquire)
    }

    /// Where lanes without a message stand, by their places: ends of transactions, and what was aborted, lie before that.
    pub(crate) fn passed(&self, lanes: &[Lane<'_>]) -> Vec<(usize, i64)> {
        let Ok(list) = self.consumer.position() else { return Vec::new() };
        let mut passed = Vec::new();
        for (likely, element) in list.elements().iter().enumerate() {
            let is =
                |wanted: &Wanted| wanted.topic == element.topic() && number(wanted.partition) == element.partition();
            let here = self.wanted.get(likely).is_some_and(is).then_some(likely);
            let place = here.or_else(|| self.wanted.iter().position(is));
            if let (Some(place), Offset::Offset(offset)) = (place, element.offset())
                && lanes.get(place).is_some_and(Lane::is_empty)
            {
                passed.push((place, offset));
            }
        }
        passed
    }
}

/// A partition's messages.
pub(crate) struct Lane<'f> {
    queue: &'f PartitionQueue<client::Context>,
    early: VecDeque<BorrowedMessage<'f>>,
    /// The queue may have something.
    pub(crate) filled: bool,
    /// The next message, while it waits.
    pub(crate) head: Option<BorrowedMessage<'f>>,
}

impl<'f> Lane<'f> {
    /// Whether no message waits that the consumer has given out.
    fn is_empty(&self) -> bool {
        self.head.is_none() && self.early.is_empty()
    }

    /// The next message; `None`: there is none now.
    pub(crate) fn poll(&mut self) -> Option<Result<BorrowedMessage<'f>, KafkaError>> {
        if let Some(message) = self.early.pop_front() {
            return Some(Ok(message));
        }
        if !self.filled {
            return None;
        }
        let message = self.queue.poll(Duration::ZERO);
        self.filled = message.is_some();
        message
    }
}

fn assign(consumer: &Consumer, wanted: &[Wanted]) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    for Wanted { topic, partition, offset } in wanted {
        list.add_partition_offset(topic, number(*partition), Offset::Offset(*offset))?;
    }
    consumer.assign(&list)
}

/// A partition as the client numbers it.
fn number(partition: usize) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}
