//! What waits in front of librdkafka: the messages of each partition that came while others are on their way to it.
//!
//! An idempotent producer of librdkafka has one batch at a time on its way to a partition. While it holds more for the
//! partition, whose linger is over, its thread asks the socket again and again, without a pause, for the broker's answer:
//! 100,000 system calls a second, a fifth of our CPU time, and of a busy broker's on the same machine as well. So it gets
//! messages only for partitions that have none on their way, and then all that wait, which make one batch.

use std::collections::VecDeque;
use std::sync::Arc;

use rdkafka::message::OwnedHeaders;

use crate::ledger::Tag;
use crate::producer::Target;

/// What is handed over at once, at most, counted as the ledger counts; or one message. Librdkafka's `batch.size`, so that none
/// of it has to wait there.
const LOAD_BYTES: usize = 1_000_000;
/// The same in messages, for `batch.num.messages`.
const LOAD_MESSAGES: usize = 10_000;
/// A partition with so much to send, and nothing on its way, need not wait for the end of its batch of the source.
const EARLY_BYTES: usize = 256 * 1024;
/// Buffers that are kept for use again.
const SPARE: usize = 8;

/// The partitions' queues.
#[derive(Default)]
pub(crate) struct Outlets {
    places: Vec<Outlet>,
    /// Places that have something to send, and nothing on its way.
    ready: VecDeque<u32>,
    spare: Vec<Load>,
}

#[derive(Default)]
struct Outlet {
    topic: Option<Arc<str>>,
    partition: i32,
    /// Messages that were handed over and are not acknowledged.
    on_way: usize,
    queue: VecDeque<Load>,
}

/// Messages of one partition, in their order.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) topic: Option<Arc<str>>,
    pub(crate) partition: i32,
    /// Keys and values.
    bytes: Vec<u8>,
    messages: Vec<Queued>,
    /// As the ledger counts.
    size: usize,
}

struct Queued {
    tag: Tag,
    key: Option<usize>,
    value: Option<usize>,
    headers: Option<OwnedHeaders>,
}

/// Key, value and headers of a message.
pub(crate) struct Parts<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Option<OwnedHeaders>,
}

impl Outlets {
    /// Appends a message to the queue of its partition. Whether it should be handed over soon.
    pub(crate) fn push(&mut self, target: Target<'_>, tag: Tag, parts: Parts<'_>) -> bool {
        let place = target.place as usize;
        if self.places.len() <= place {
            self.places.resize_with(place + 1, Outlet::default);
        }
        let Some(outlet) = self.places.get_mut(place) else { return false };
        if outlet.topic.is_none() {
            outlet.topic = Some(target.topic.into());
            outlet.partition = i32::try_from(target.partition).unwrap_or(i32::MAX);
        }
        if outlet.queue.is_empty() && outlet.on_way == 0 {
            self.ready.push_back(target.place);
        }
        if outlet.queue.back().is_none_or(|load| load.is_full(tag)) {
            let load = self.spare.pop().unwrap_or_default();
            outlet.queue.push_back(Load { topic: outlet.topic.clone(), partition: outlet.partition, ..load });
        }
        let Some(load) = outlet.queue.back_mut() else { return false };
        load.push(tag, parts);
        outlet.on_way == 0 && load.size >= EARLY_BYTES
    }

    /// A message of a place was acknowledged, or given up. Whether others can follow now.
    pub(crate) fn settle(&mut self, place: u32) -> bool {
        let Some(outlet) = self.places.get_mut(place as usize).filter(|outlet| outlet.on_way > 0) else { return false };
        outlet.on_way -= 1;
        let ready = outlet.on_way == 0 && !outlet.queue.is_empty();
        if ready {
            self.ready.push_back(place);
        }
        ready
    }

    /// Takes what a partition has to send that has nothing on its way; it has from now on.
    pub(crate) fn next(&mut self) -> Option<Load> {
        while let Some(place) = self.ready.pop_front() {
            let outlet = self.places.get_mut(place as usize)?;
            if let Some(load) = outlet.queue.pop_front() {
                outlet.on_way = load.messages.len();
                return Some(load);
            }
        }
        None
    }

    /// Takes back a buffer that is used up.
    pub(crate) fn reuse(&mut self, mut load: Load) {
        if self.spare.len() < SPARE {
            load.bytes.clear();
            load.messages.clear();
            load.size = 0;
            self.spare.push(load);
        }
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        self.ready.clear();
        for outlet in &mut self.places {
            outlet.queue.clear();
        }
    }
}

impl Load {
    fn is_full(&self, next: Tag) -> bool {
        self.messages.len() >= LOAD_MESSAGES || self.size + next.bytes() > LOAD_BYTES
    }

    fn push(&mut self, tag: Tag, parts: Parts<'_>) {
        let mut append = |part: Option<&[u8]>| part.map(|part| self.bytes.extend_from_slice(part));
        append(parts.key);
        append(parts.value);
        self.size += tag.bytes();
        let (key, value) = (parts.key.map(<[u8]>::len), parts.value.map(<[u8]>::len));
        self.messages.push(Queued { tag, key, value, headers: parts.headers });
    }

    /// Takes out the messages with their tags, in order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (Tag, Parts<'_>)> {
        let mut rest = self.bytes.as_slice();
        self.messages.drain(..).map(move |Queued { tag, key, value, headers }| {
            let mut cut = |len: Option<usize>| {
                let (part, others) = rest.split_at_checked(len?)?;
                rest = others;
                Some(part)
            };
            let (key, value) = (cut(key), cut(value));
            (tag, Parts { key, value, headers })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::Ledger;

    #[derive(Clone, Debug)]
    enum Step {
        Push { place: u32, bytes: usize },
        Next,
        Settle { which: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u32..3, prop_oneof![9 => 0_usize..50, 1 => Just(LOAD_BYTES / 2 + 1)])
                .prop_map(|(place, bytes)| Step::Push { place, bytes }),
            2 => Just(Step::Next),
            4 => any::<usize>().prop_map(|which| Step::Settle { which }),
        ]
    }

    /// What was handed over: by place, the number in its partition and the size.
    #[derive(Default)]
    struct Model {
        pushed: [Vec<usize>; 3],
        handed: [usize; 3],
        on_way: Vec<u32>,
    }

    impl Model {
        fn take(&mut self, mut load: Load) -> Load {
            let place = u32::try_from(load.partition).unwrap();
            assert!(!self.on_way.contains(&place), "two loads on their way to one partition");
            let mut bytes = 0;
            for (number, (tag, parts)) in load.drain().enumerate() {
                let wanted = self.pushed[place as usize][self.handed[place as usize]];
                assert_eq!(parts.key, Some(&b"key"[..]));
                assert_eq!(parts.value.map(<[u8]>::len), (wanted > 0).then_some(wanted));
                bytes += tag.bytes();
                assert!(number == 0 || bytes <= LOAD_BYTES, "more than fits a batch");
                self.handed[place as usize] += 1;
                self.on_way.push(place);
            }
            load
        }
    }

    proptest! {
        /// Every message is handed over once, in its order, never while others are on their way, and none is forgotten.
        #[test]
        fn messages_go_in_order_and_never_behind_others(steps in proptest::collection::vec(step(), 0..200)) {
            let (mut ledger, mut outlets, mut model) = (Ledger::default(), Outlets::default(), Model::default());
            let value = vec![7; LOAD_BYTES];
            for step in steps {
                match step {
                    Step::Push { place, bytes } => {
                        let target = Target { topic: "t", partition: place, place };
                        let value = (bytes > 0).then_some(&value[..bytes]);
                        outlets.push(target, ledger.add(place, bytes), Parts { key: Some(b"key"), value, headers: None });
                        model.pushed[place as usize].push(bytes);
                    }
                    Step::Next => {
                        if let Some(load) = outlets.next() {
                            let load = model.take(load);
                            outlets.reuse(load);
                        }
                    }
                    Step::Settle { which } => {
                        if !model.on_way.is_empty() {
                            let which = which % model.on_way.len();
                            outlets.settle(model.on_way.swap_remove(which));
                        }
                    }
                }
            }
            loop {
                while let Some(place) = model.on_way.pop() {
                    outlets.settle(place);
                }
                let Some(load) = outlets.next() else { break };
                model.take(load);
            }
            for place in 0..3 {
                prop_assert_eq!(model.handed[place], model.pushed[place].len());
            }
        }
    }

    #[test]
    fn a_partition_with_much_to_send_does_not_wait_for_the_rest() {
        let (mut ledger, mut outlets) = (Ledger::default(), Outlets::default());
        let value = vec![0; EARLY_BYTES];
        let mut push = |outlets: &mut Outlets, bytes: usize| {
            let parts = Parts { key: None, value: Some(&value[..bytes]), headers: None };
            outlets.push(Target { topic: "t", partition: 0, place: 0 }, ledger.add(0, bytes), parts)
        };
        assert!(!push(&mut outlets, 10));
        assert!(push(&mut outlets, EARLY_BYTES));
        assert!(outlets.next().is_some());
        assert!(!push(&mut outlets, EARLY_BYTES), "others are on their way");
        assert!(outlets.next().is_none());
    }
}
