//! Messages of any bytes, in any order of partitions.

use std::sync::LazyLock;

use proptest::prelude::*;
use tokio::runtime::Runtime;
use walbrook_envelope::headers;
use walbrook_letters::ANSWERS;
use walbrook_model::{Row, Value};

use super::*;
use crate::testing::Memory;

const SCHEMA: &str = r#"{"type":"record","name":"Envelope","namespace":"p.public.t","fields":[
    {"name":"before","type":["null",{"type":"record","name":"Value","fields":[{"name":"id","type":"int"},{"name":"name","type":["null","string"]}]}]},
    {"name":"after","type":["null","Value"]},
    {"name":"source","type":{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":[
        {"name":"ts_us","type":["null","long"]},{"name":"lsn","type":["null","long"]},{"name":"schema","type":"string"},{"name":"table","type":"string"}]}},
    {"name":"op","type":"string"}]}"#;
const KEY: &str = r#"{"type":"record","name":"Key","namespace":"p.public.t","fields":[{"name":"id","type":"int"}]}"#;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn lookup() -> Lookup {
    let memory = Memory::default();
    memory.register("p.public.t-key", KEY);
    memory.register("p.public.t-value", SCHEMA);
    Lookup { schemas: Some(Arc::new(memory)), runtime: RUNTIME.handle().clone() }
}

fn topic(partitions: usize) -> Topic {
    let partitions = vec![Position::default(); partitions];
    Topic::new("p.public.t", TopicPositions { partitions, ..TopicPositions::default() }, |_| 0)
}

/// Bytes that begin as Avro or JSON do, or as nothing does.
fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let prefix = prop::sample::select(vec![
        &[][..],
        &[0, 0, 0, 0, 1],
        &[0, 0, 0, 0, 2],
        &[0, 0, 0, 0, 9],
        b"{\"schema\":null,\"payload\":",
        b"{\"op\":\"c\",\"after\":{\"id\":1}",
    ]);
    let some = (prefix, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(prefix, rest)| [prefix, &rest].concat());
    prop::option::of(some)
}

fn header() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let name = prop::sample::select(vec![
        headers::SEQ,
        headers::LINEAGE,
        headers::UNCHANGED,
        headers::COMMITTED_AT,
        headers::CONTROL,
        headers::PARTITIONS,
        headers::SHAPE,
        headers::INITIAL,
        ANSWERS,
        "x",
    ]);
    let value = prop_oneof![
        any::<u64>().prop_map(|number| number.to_string().into_bytes()),
        prop::sample::select(vec![headers::SNAPSHOT_END, OVERSIZE, DISCARDED])
            .prop_map(|kind| kind.as_bytes().to_vec()),
        (0..3_u32, 0..20_u32).prop_map(|(partition, offset)| format!("{partition}/{offset}").into_bytes()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    (name, value)
}

proptest! {
    #[test]
    fn any_message_is_read_or_stops_the_table(
        messages in prop::collection::vec((0..3_usize, bytes(), bytes(), prop::collection::vec(header(), 0..5)), 1..20)
    ) {
        let (lookup, mut topic, mut arena) = (lookup(), topic(2), Arena::default());
        let mut next = [0_i64; 3];
        for (partition, key, value, headers) in messages {
            let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
            let raw = Raw {
                partition,
                offset: next[partition],
                at_ms: 1,
                key: key.as_deref(),
                value: value.as_deref(),
                headers: Some(&headers),
            };
            let stopped = topic.stopped.is_some();
            let mut handed = 0;
            let taken = topic.take(&lookup, &Logs::default(), &mut arena, &raw, |_, _| handed += 1);
            prop_assert!(matches!(taken, Ok(Taken::Read)), "{taken:?}");
            prop_assert!(!(stopped && handed > 0), "a table that has stopped takes no more");
            // The third partition is not read.
            next[partition] += i64::from(partition < 2);
            prop_assert_eq!(topic.next(partition), next[partition]);
            // What came before does not come again.
            let again = Raw { offset: 0, ..raw };
            topic.take(&lookup, &Logs::default(), &mut arena, &again, |_, _| panic!("again")).unwrap();
        }
        prop_assert_eq!(topic.stopped.is_some(), topic.tell_stop().is_some());
        prop_assert!(topic.tell_stop().is_none(), "told once");
    }
}

/// Whether what a table of the newest rows takes are values of its columns.
fn is_storable(change: &Change) -> bool {
    let holds = |row: &Row, index: usize| match row.value(&change.schema, index) {
        Ok(value) => value == Value::Unchanged || change.schema.columns[index].ty.holds(&value),
        Err(_) => false,
    };
    match (&change.before, &change.after) {
        (Some(before), _) if change.op == Op::Delete => change.schema.key.iter().all(|index| holds(before, *index)),
        (_, Some(after)) => (0..after.len()).all(|index| holds(after, index)),
        _ => true,
    }
}

type Sent = (usize, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(&'static str, Vec<u8>)>);

fn messages() -> impl Strategy<Value = Vec<Sent>> {
    prop::collection::vec((0..2_usize, bytes(), bytes(), prop::collection::vec(header(), 0..5)), 1..30)
}

proptest! {
    #[test]
    fn any_message_is_read_or_put_aside_up_to_the_bound(messages in messages(), max in 1..6_usize) {
        let (lookup, mut topic, mut arena) = (lookup(), topic(2).putting_aside(max), Arena::default());
        let mut next = [0_i64; 2];
        for (partition, key, value, headers) in messages {
            let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
            let (key, value) = (key.as_deref(), value.as_deref());
            let raw = Raw { partition, offset: next[partition], at_ms: 1, key, value, headers: Some(&headers) };
            let (before, mut handed, mut storable) = (topic.open_letters(), 0, true);
            let hand_over = |change: Change, _| {
                handed += 1;
                storable &= is_storable(&change);
            };
            let taken = topic.take(&lookup, &Logs::default(), &mut arena, &raw, hand_over).unwrap();
            prop_assert!(storable);
            let put_aside = match taken {
                Taken::Undecodable(reason, error) => {
                    prop_assert_eq!(topic.next(partition), next[partition], "not passed before it is acknowledged");
                    topic.is_aside(&raw, reason, &error);
                    true
                }
                Taken::Read => false,
                Taken::Waits => panic!("the registry is there"),
            };
            next[partition] += 1;
            prop_assert_eq!(topic.next(partition), next[partition]);
            prop_assert!(!put_aside || handed == 0);
            prop_assert!(topic.open_letters() <= max);
            prop_assert!(put_aside || topic.open_letters() <= before, "a letter that is nowhere");
            prop_assert!(topic.stopped.is_none() || before == max || topic.open_letters() == max);
            // A restart at any time goes on with the same letters.
            let positions = topic.positions();
            let again = Topic::new("p.public.t", positions.clone(), |_| 0);
            prop_assert_eq!(again.positions(), positions);
        }
    }
}

#[test]
fn an_envelope_of_other_makers_is_read() {
    let (lookup, mut topic, mut arena) = (lookup(), topic(1), Arena::default());
    // before null, after {7, null}, source {null, 5, "s", "t"}, op "c".
    let value = [&[0, 0, 0, 0, 2, 0, 2, 14, 0, 2, 2, 2, 10, 2][..], b"s", &[2], b"t", &[2], b"c"].concat();
    let key = [0, 0, 0, 0, 1, 14];
    let raw = Raw { partition: 0, offset: 3, at_ms: 1, key: Some(&key), value: Some(&value), headers: Some(&[]) };
    let mut handed = Vec::new();
    let taken = topic
        .take(&lookup, &Logs::default(), &mut arena, &raw, |change, lineage| handed.push((change, lineage)))
        .unwrap();
    assert!(matches!(taken, Taken::Read), "{taken:?}");
    assert!(topic.stopped.is_none(), "{:?}", topic.stopped);
    let (change, lineage) = handed.pop().unwrap();
    assert_eq!((change.op, change.schema.table.to_string(), lineage), (Op::Insert, "s.t".to_owned(), None));
    assert_eq!((topic.next(0), topic.positions().partitions[0].schemas.value), (4, Some(2)));
}

#[test]
fn a_cell_that_no_table_can_store_is_a_letter_and_without_letters_the_affair_of_the_sink() {
    let (lookup, mut arena) = (lookup(), Arena::default());
    // As above, with a name that is no UTF-8.
    let value =
        [&[0, 0, 0, 0, 2, 0, 2, 14, 2, 4, 0xFF, 0xFE, 2, 2, 2, 10, 2][..], b"s", &[2], b"t", &[2], b"c"].concat();
    let key = [0, 0, 0, 0, 1, 14];
    let raw = Raw { partition: 0, offset: 3, at_ms: 1, key: Some(&key), value: Some(&value), headers: Some(&[]) };
    let mut topic = topic(1).putting_aside(5);
    let taken = topic.take(&lookup, &Logs::default(), &mut arena, &raw, |_, _| panic!("a change")).unwrap();
    let Taken::Undecodable(Reason::Value, error) = taken else { panic!("{taken:?}") };
    assert_eq!((error.object(), topic.next(0)), (Some("column name"), 0), "not passed before it is acknowledged");
    topic.is_aside(&raw, Reason::Value, &error);
    assert_eq!((topic.next(0), topic.open_letters()), (4, 1));

    let (mut topic, mut handed) = (self::topic(1), 0);
    let taken = topic.take(&lookup, &Logs::default(), &mut arena, &raw, |_, _| handed += 1).unwrap();
    assert!(matches!(taken, Taken::Read) && topic.stopped.is_none() && handed == 1, "{taken:?}");
}

#[test]
fn headers_that_cannot_be_read_stop_the_table() {
    let (lookup, mut topic, mut arena) = (lookup(), topic(1), Arena::default());
    let raw = Raw { partition: 0, offset: 0, at_ms: 1, key: None, value: None, headers: None };
    topic.take(&lookup, &Logs::default(), &mut arena, &raw, |_, _| panic!("a change")).unwrap();
    let stop = topic.tell_stop().unwrap();
    assert!(
        stop.error.to_string().contains("partition 0, offset 0: the name of a header is no text"),
        "{}",
        stop.error
    );
    assert_eq!((stop.table.to_string(), stop.since, stop.bytes), ("topic.p.public.t".to_owned(), Some(Seq::ZERO), 0));
}
