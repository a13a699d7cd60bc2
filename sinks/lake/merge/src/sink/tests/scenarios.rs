use std::sync::Arc;
use std::time::{Duration, Instant};

use walbrook_model::{Batch, Change, ColumnType, ErrorKind, Lineage, Op, Sink as _};

use super::harness::*;
use crate::testing::{Fault, column, schema};

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[tokio::test]
async fn a_checkpoint_without_data_is_written_at_once_when_urgent() {
    let world = World::new();
    let (mut sink, found) = world.start().await.unwrap();
    assert_eq!(found, None);
    sink.write(batch(vec![], Some("0"))).await.unwrap();
    assert_eq!(sink.durable(), None, "an idle checkpoint can wait");
    let mut urgent = batch(vec![], Some("1"));
    urgent.urgent = true;
    sink.write(urgent).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("1"));
    let (_, found) = world.start().await.unwrap();
    assert_eq!(text(found.as_ref()), Some("1"));
}

#[tokio::test]
async fn rows_are_merged_by_key_and_the_checkpoint_follows() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    let t = three("public.t");
    let first = vec![
        change(Op::Insert, &t, seq(1, 1), &["1", "a", "x"]),
        change(Op::Insert, &t, seq(1, 2), &["2", "b", "y"]),
        change(Op::Update, &t, seq(1, 3), &["1", "c", "z"]),
    ];
    sink.write(batch(first, Some("1"))).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("1"));
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("1", "c"), ("2", "b")]));
    let second =
        vec![change(Op::Delete, &t, seq(2, 1), &["1", "?", "?"]), change(Op::Update, &t, seq(2, 2), &["2", "d", "?"])];
    sink.write(batch(second, Some("2"))).await.unwrap();
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("2", "d")]));
    assert_eq!(world.pairs("public.t", "id", "b"), pairs(&[("2", "y")]), "the unchanged cell of the stored row");
    assert_eq!(world.catalog.log().last(), Some(&control()), "the checkpoint comes last");
    let status = sink.status().tables()["public.t"].clone();
    assert_eq!((status.changes, status.rows_written, status.live_rows, status.commits), (5, 3, 1, 2));
}

#[tokio::test]
async fn nothing_of_a_transaction_is_committed_before_its_end() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    let t = three("public.t");
    sink.write(batch(vec![change(Op::Insert, &t, seq(1, 1), &["1", "a", "x"])], Some("1"))).await.unwrap();
    sink.write(batch(vec![change(Op::Delete, &t, seq(2, 1), &["1", "?", "?"])], None)).await.unwrap();
    sink.write(batch(vec![], None)).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("1", "a")]));
    assert_eq!(text(sink.durable().as_ref()), Some("1"));
    sink.write(batch(vec![change(Op::Insert, &t, seq(2, 2), &["2", "b", "y"])], Some("2"))).await.unwrap();
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("2", "b")]));
}

#[tokio::test]
async fn a_transaction_beyond_the_bound_is_committed_in_parts_without_a_checkpoint() {
    let mut world = World::new();
    world.settings.commit_bytes = 4000;
    let (mut sink, _) = world.start().await.unwrap();
    let t = three("public.t");
    let long = "x".repeat(900);
    let insert = |n: u64| change(Op::Insert, &t, seq(1, n), &[&n.to_string(), &long, "y"]);
    for n in 1..=10 {
        sink.write(batch(vec![insert(n)], None)).await.unwrap();
    }
    settle(&mut sink).await;
    assert!(!world.rows("public.t").is_empty(), "the bound is exceeded");
    assert_eq!(sink.durable(), None);
    sink.write(batch(vec![insert(11)], Some("1"))).await.unwrap();
    settle(&mut sink).await;
    assert_eq!(world.rows("public.t").len(), 11);
    assert_eq!(text(sink.durable().as_ref()), Some("1"));
}

#[tokio::test]
async fn half_of_a_key_change_waits_for_the_other_and_the_checkpoint_for_both() {
    let mut world = World::new();
    (world.settings.commit_bytes, world.settings.commit_interval) = (2000, Duration::from_hours(1));
    let (mut sink, _) = world.start().await.unwrap();
    let (t, u) = (three("public.t"), three("public.u"));
    sink.write(batch(vec![change(Op::Insert, &t, seq(1, 1), &["1", "a", "toast"])], Some("1"))).await.unwrap();
    let long = "x".repeat(3000);
    let first = vec![
        change(Op::Insert, &u, seq(2, 1), &["1", &long, "y"]),
        change(Op::Delete, &t, seq(2, 2), &["1", "?", "?"]),
    ];
    sink.write(batch(first, None)).await.unwrap();
    settle(&mut sink).await;
    assert_eq!(world.rows("public.u").len(), 1, "the bound is exceeded");
    assert!(world.rows("public.t").is_empty());
    assert_eq!(sink.durable(), None, "checkpoint 1 covers a row that is not there yet");
    let second = vec![
        change(Op::Insert, &t, seq(2, 3), &["9", "b", "?"]),
        change(Op::Insert, &u, seq(2, 4), &["2", &long, "y"]),
    ];
    sink.write(batch(second, None)).await.unwrap();
    settle(&mut sink).await;
    assert_eq!(world.pairs("public.t", "id", "b"), pairs(&[("9", "toast")]));
}

#[tokio::test]
async fn changes_that_come_while_a_commit_runs_are_in_the_next_one() {
    let mut world = World::new();
    (world.settings.commit_bytes, world.settings.commit_interval) = (2000, Duration::from_hours(1));
    let (mut sink, _) = world.start().await.unwrap();
    let t = three("public.t");
    let long = "x".repeat(1500);
    sink.write(batch(vec![change(Op::Insert, &t, seq(1, 1), &["1", &long, "toast"])], Some("1"))).await.unwrap();
    assert!(sink.run.as_ref().unwrap().flight.is_some(), "the bound is exceeded: a commit runs");
    let during =
        vec![change(Op::Update, &t, seq(2, 1), &["1", "b", "?"]), change(Op::Insert, &t, seq(2, 2), &["2", "c", "y"])];
    sink.write(batch(during, Some("2"))).await.unwrap();
    settle(&mut sink).await;
    assert_eq!(world.pairs("public.t", "id", "b"), pairs(&[("1", "toast")]));
    assert_eq!(text(sink.durable().as_ref()), Some("1"), "the second checkpoint waits for its rows");
    sink.flush().await.unwrap();
    assert_eq!(world.pairs("public.t", "a", "b"), pairs(&[("b", "toast"), ("c", "y")]));
    assert_eq!(text(sink.durable().as_ref()), Some("2"));
}

#[tokio::test]
async fn a_commit_that_fails_while_more_is_taken_stops_its_table_before_both() {
    let mut world = World::new();
    (world.settings.commit_bytes, world.settings.commit_interval) = (2000, Duration::from_hours(1));
    let (mut sink, _) = world.start().await.unwrap();
    let (t, u) = (three("public.t"), three("public.u"));
    sink.write(batch(vec![change(Op::Insert, &t, seq(1, 1), &["1", "a", "b"])], Some("1"))).await.unwrap();
    sink.flush().await.unwrap();
    let long = "x".repeat(1500);
    // The log does not carry `b` of a row that nobody has seen.
    let bad = vec![change(Op::Update, &t, seq(2, 1), &["7", &long, "?"])];
    sink.write(batch(bad, Some("2"))).await.unwrap();
    let during =
        vec![change(Op::Insert, &t, seq(3, 1), &["2", "c", "d"]), change(Op::Insert, &u, seq(3, 2), &["1", "e", "f"])];
    sink.write(batch(during, Some("3"))).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("1", "a")]));
    assert_eq!(world.pairs("public.u", "id", "a"), pairs(&[("1", "e")]), "the other table goes on");
    assert_eq!(text(sink.durable().as_ref()), Some("1"), "the checkpoint stays before what the table lost");
    assert!(sink.status().tables()["public.t"].stopped.is_some());
}

#[tokio::test]
async fn cells_are_filled_from_the_same_commit_and_across_a_key_change() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    let t = three("public.t");
    let first = vec![
        change(Op::Insert, &t, seq(1, 1), &["1", "a", "toast"]),
        change(Op::Update, &t, seq(1, 2), &["1", "b", "?"]),
        change(Op::Update, &t, seq(1, 3), &["1", "c", "?"]),
    ];
    sink.write(batch(first, Some("1"))).await.unwrap();
    assert_eq!(world.pairs("public.t", "a", "b"), pairs(&[("c", "toast")]));
    let key_change = vec![
        change(Op::Delete, &t, seq(2, 1), &["1", "?", "?"]),
        change(Op::Insert, &t, seq(2, 2), &["9", "d", "?"]),
        change(Op::Update, &t, seq(2, 3), &["9", "?", "?"]),
    ];
    sink.write(batch(key_change, Some("2"))).await.unwrap();
    assert_eq!(world.pairs("public.t", "id", "b"), pairs(&[("9", "toast")]));
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("9", "d")]));
}

#[tokio::test]
async fn a_truncate_and_a_slice_end_what_is_older() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    let t = three("public.t");
    let first = vec![
        change(Op::Insert, &t, seq(1, 1), &["1", "a", "x"]),
        change(Op::Truncate, &t, seq(1, 2), &[]),
        change(Op::Insert, &t, seq(1, 3), &["2", "b", "y"]),
    ];
    sink.write(batch(first, Some("1"))).await.unwrap();
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("2", "b")]));
    let slice = vec![
        change(Op::Read, &t, seq(5, 0), &["3", "c", "z"]),
        change(Op::SnapshotEnd, &t, seq(5, 0), &[]),
        change(Op::Insert, &t, seq(5, 1), &["4", "d", "z"]),
    ];
    sink.write(batch(slice, Some("5"))).await.unwrap();
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("3", "c"), ("4", "d")]));
    // Late, from before the truncate and the slice.
    sink.write(batch(vec![change(Op::Insert, &t, seq(4, 1), &["7", "late", "z"])], Some("6"))).await.unwrap();
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("3", "c"), ("4", "d")]));
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![change(Op::Insert, &t, seq(4, 1), &["7", "late", "z"])], Some("7"))).await.unwrap();
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("3", "c"), ("4", "d")]), "the marks are durable");
}

#[tokio::test]
async fn a_deleted_row_does_not_come_back_after_a_restart() {
    let world = World::new();
    let t = three("public.t");
    let replayed = || change(Op::Insert, &t, seq(1, 1), &["1", "a", "x"]);
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![replayed()], Some("1"))).await.unwrap();
    world.catalog.set_plan(|name, _| (*name == control()).then_some(Fault::CrashBefore));
    let gone = sink.write(batch(vec![change(Op::Delete, &t, seq(2, 1), &["1", "?", "?"])], Some("2"))).await;
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::Transient);
    world.catalog.clear_plan();
    assert!(world.rows("public.t").is_empty());
    let (mut sink, found) = world.start().await.unwrap();
    assert_eq!(text(found.as_ref()), Some("1"));
    sink.write(batch(vec![replayed()], None)).await.unwrap();
    sink.write(batch(vec![], Some("1b"))).await.unwrap();
    sink.flush().await.unwrap();
    assert!(world.rows("public.t").is_empty());
    assert_eq!(sink.status().tables()["public.t"].dropped["stale_grave"], 1);
}

#[tokio::test]
async fn a_lost_graves_file_is_a_gap() {
    let world = World::new();
    let t = three("public.t");
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![change(Op::Delete, &t, seq(2, 1), &["1", "?", "?"])], Some("2"))).await.unwrap();
    let folder = world.folder.path().join("state/public.t");
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "one graves file at a time");
    for damage in [Some(&b"walbrook graves\n"[..]), None] {
        match damage {
            Some(bytes) => std::fs::write(&files[0], bytes).unwrap(),
            None => std::fs::remove_file(&files[0]).unwrap(),
        }
        let (mut sink, _) = world.start().await.unwrap();
        let late = sink.write(batch(vec![change(Op::Insert, &t, seq(3, 1), &["2", "a", "x"])], Some("3"))).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Gap);
    }
}

#[tokio::test]
async fn graves_are_forgotten_once_a_durable_checkpoint_covers_them() {
    let world = World::new();
    let t = three("public.t");
    let (mut sink, _) = world.start().await.unwrap();
    for n in 1..5 {
        let delete = change(Op::Delete, &t, seq(n, 1), &[&n.to_string(), "?", "?"]);
        sink.write(batch(vec![delete], Some(&n.to_string()))).await.unwrap();
    }
    assert_eq!(sink.status().tables()["public.t"].graves, 1, "only the one that no earlier checkpoint covers");
    // While a slice is open its reads may be older than a grave.
    sink.write(batch(vec![change(Op::Read, &t, seq(4, 0), &["70", "a", "x"])], None)).await.unwrap();
    for n in 5..8 {
        let delete = change(Op::Delete, &t, seq(n, 1), &[&n.to_string(), "?", "?"]);
        sink.write(batch(vec![delete], Some(&n.to_string()))).await.unwrap();
    }
    assert!(sink.status().tables()["public.t"].graves >= 3);
    sink.write(batch(vec![change(Op::Read, &t, seq(4, 0), &["71", "a", "x"])], None)).await.unwrap();
    sink.write(batch(vec![change(Op::SnapshotEnd, &t, seq(4, 0), &[])], Some("9"))).await.unwrap();
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("70", "a"), ("71", "a")]));
}

#[tokio::test]
async fn an_added_column_comes_with_its_first_rows_and_survives_a_replay() {
    let world = World::new();
    let old = three("public.t");
    let mut columns = old.columns.clone();
    let mut added = column("n", ColumnType::Int32);
    added.initial_default = Some(b"5"[..].into());
    columns.insert(1, added);
    let new = schema("public.t", columns.clone(), &[0]);
    let log = schema("public.log", columns, &[0]);
    let old_log = three("public.log");
    let (mut sink, _) = world.start().await.unwrap();
    let before = || {
        vec![
            change(Op::Insert, &old, seq(1, 1), &["1", "a", "x"]),
            change(Op::Insert, &old_log, seq(1, 2), &["1", "a", "x"]),
        ]
    };
    sink.write(batch(before(), Some("1"))).await.unwrap();
    let after = || {
        vec![
            change(Op::Insert, &old, seq(2, 1), &["2", "b", "y"]),
            change(Op::Insert, &new, seq(2, 2), &["3", "7", "c", "z"]),
            change(Op::Insert, &log, seq(2, 3), &["3", "7", "c", "z"]),
        ]
    };
    world.catalog.set_plan(|name, _| (*name == control()).then_some(Fault::CrashBefore));
    sink.write(batch(after(), Some("2"))).await.unwrap_err();
    world.catalog.clear_plan();
    let check = || {
        assert_eq!(world.pairs("public.t", "id", "n"), pairs(&[("1", "5"), ("2", "5"), ("3", "7")]));
        assert_eq!(world.pairs("public.log", "id", "n"), pairs(&[("1", "5"), ("3", "7")]));
    };
    check();
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch([before(), after()].concat(), Some("2"))).await.unwrap();
    check();
    assert!(sink.status().tables().values().all(|table| table.stopped.is_none()));
}

#[tokio::test]
async fn an_unchanged_cell_is_the_newest_although_older_ones_come_again() {
    let world = World::new();
    let t = three("public.t");
    let (mut sink, _) = world.start().await.unwrap();
    let old = || {
        vec![
            change(Op::Insert, &t, seq(1, 1), &["1", "a", "old"]),
            change(Op::Delete, &t, seq(1, 2), &["2", "?", "?"]),
            change(Op::Insert, &t, seq(1, 3), &["3", "a", "old"]),
        ]
    };
    let new = ["1", "2", "3"].into_iter().zip(1..).map(|(id, n)| change(Op::Insert, &t, seq(2, n), &[id, "b", "new"]));
    sink.write(batch([old(), new.collect()].concat(), Some("2"))).await.unwrap();
    // The old ones come again, in one commit with changes that leave the cell alone.
    let mut changes = old();
    changes.extend([
        change(Op::Update, &t, seq(3, 1), &["1", "c", "?"]),
        change(Op::Update, &t, seq(3, 2), &["2", "c", "?"]),
        change(Op::Delete, &t, seq(3, 3), &["3", "?", "?"]),
        change(Op::Insert, &t, seq(3, 4), &["4", "c", "?"]),
    ]);
    sink.write(batch(changes, Some("3"))).await.unwrap();
    assert!(sink.status().tables()["public.t"].stopped.is_none());
    assert_eq!(world.pairs("public.t", "id", "b"), pairs(&[("1", "new"), ("2", "new"), ("4", "new")]));
}

#[tokio::test]
async fn an_append_table_has_every_change_once() {
    let world = World::new();
    let t = three("public.log");
    let (mut sink, _) = world.start().await.unwrap();
    let changes = || {
        vec![
            change(Op::Insert, &t, seq(1, 1), &["1", "a", "x"]),
            change(Op::Update, &t, seq(1, 2), &["1", "b", "?"]),
            change(Op::Delete, &t, seq(1, 3), &["1", "?", "?"]),
            change(Op::Truncate, &t, seq(1, 4), &[]),
        ]
    };
    sink.write(batch(changes(), Some("1"))).await.unwrap();
    let expected = pairs(&[("c", "1"), ("d", "1"), ("t", "~"), ("u", "1")]);
    assert_eq!(world.pairs("public.log", "_op", "id"), expected);
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(changes(), Some("1"))).await.unwrap();
    sink.write(batch(vec![change(Op::Insert, &t, seq(2, 1), &["2", "c", "z"])], Some("2"))).await.unwrap();
    assert_eq!(world.rows("public.log").len(), 5);
    let status = sink.status().tables()["public.log"].clone();
    assert_eq!(status.dropped["repeat"], 4);
}

#[tokio::test]
async fn an_append_table_stops_where_changes_come_in_no_order() {
    let world = World::new();
    let (t, keyed) = (three("public.log"), three("public.t"));
    let (mut sink, _) = world.start().await.unwrap();
    let changes =
        |position| [&t, &keyed].map(|table| change(Op::Insert, table, seq(position, 1), &["1", "a", "x"])).to_vec();
    let from_topics = |position| Batch { covered: Some(seq(0, 0)), ..batch(changes(position), Some("1")) };
    sink.write(from_topics(1)).await.unwrap();
    assert!(sink.status().tables()["public.log"].stopped.is_none(), "each table has an order");
    let unordered = vec![t.table.clone(), keyed.table.clone()];
    sink.write(Batch { unordered, ..from_topics(2) }).await.unwrap();
    assert!(sink.status().tables()["public.log"].stopped.as_ref().unwrap().reason.contains("order of their log"));
    assert!(sink.status().tables()["public.t"].stopped.is_none());
}

#[tokio::test]
async fn reads_of_an_append_table_are_seen_at_the_end_of_their_slice_only() {
    let mut world = World::new();
    world.settings.commit_bytes = 2000;
    let t = three("public.log");
    let long = "x".repeat(500);
    let read = |n: u64, at: u64| change(Op::Read, &t, seq(at, 0), &[&n.to_string(), &long, "y"]);
    let (mut sink, _) = world.start().await.unwrap();
    for n in 0..10 {
        sink.write(batch(vec![read(n, 5)], None)).await.unwrap();
    }
    sink.flush().await.unwrap();
    assert!(world.rows("public.log").is_empty());
    let staged = || std::fs::read_dir(world.folder.path().join("data/public.log")).unwrap().count();
    assert!(staged() > 0, "the bound was exceeded, so reads are on disk");
    // The process dies, and reads again at another place.
    let (mut sink, _) = world.start().await.unwrap();
    for n in 0..10 {
        sink.write(batch(vec![read(n, 6)], None)).await.unwrap();
    }
    sink.write(batch(vec![change(Op::SnapshotEnd, &t, seq(6, 0), &[])], Some("6"))).await.unwrap();
    assert_eq!(world.rows("public.log").len(), 10);
    sink.write(batch(vec![read(3, 6), change(Op::SnapshotEnd, &t, seq(6, 0), &[])], Some("7"))).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(world.rows("public.log").len(), 10, "the slice is not written twice");
}

#[tokio::test]
async fn a_change_of_another_log_is_a_gap_until_it_is_accepted() {
    let world = World::new();
    let t = three("public.t");
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![change(Op::Insert, &t, seq(1, 1), &["1", "a", "x"])], Some("1"))).await.unwrap();
    let later = walbrook_model::Seq::new(1, 1, 1, 1).unwrap();
    let other_generation = batch(vec![change(Op::Insert, &t, later, &["2", "a", "x"])], Some("2"));
    let mut other_lineage = batch(vec![change(Op::Insert, &t, seq(2, 1), &["2", "a", "x"])], Some("2"));
    other_lineage.lineage = Some(Lineage::new("another"));
    for strange in [other_generation.clone(), other_lineage] {
        let (mut sink, _) = world.start().await.unwrap();
        assert_eq!(sink.write(strange).await.unwrap_err().kind(), ErrorKind::Gap);
    }
    world.sink().accept_gap(None, &Lineage::new("log"), 1).await.unwrap();
    let (mut sink, found) = world.start().await.unwrap();
    assert_eq!(found, None, "the source takes a new snapshot");
    sink.write(other_generation).await.unwrap();
    assert_eq!(world.rows("public.t").len(), 2);
}

#[tokio::test]
async fn another_log_that_the_batch_lets_in_is_no_gap() {
    let world = World::new();
    let t = three("public.t");
    let (mut sink, _) = world.start().await.unwrap();
    let later = walbrook_model::Seq::new(1, 1, 1, 1).unwrap();
    let mut first = batch(vec![change(Op::Insert, &t, later, &["2", "a", "x"])], Some("1"));
    first.logs = Some(Arc::new([("log".to_owned(), [0, 1].into())].into()));
    sink.write(first).await.unwrap();
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![change(Op::Insert, &t, seq(1, 1), &["1", "a", "x"])], Some("2"))).await.unwrap();
    assert_eq!(world.rows("public.t").len(), 2);
}

#[tokio::test]
async fn graves_are_kept_until_the_source_covers_them_whatever_came() {
    let world = World::new();
    let t = three("public.t");
    let (mut sink, _) = world.start().await.unwrap();
    // Two partitions: one is far ahead of the other.
    let mut take = async |n: u64, changes: Vec<Change>, covered: u64| {
        let batch = batch(changes, Some(&n.to_string()));
        sink.write(Batch { covered: Some(seq(covered, 0)), ..batch }).await.unwrap();
    };
    take(1, vec![change(Op::Insert, &t, seq(9, 1), &["1", "a", "x"])], 0).await;
    take(2, vec![change(Op::Delete, &t, seq(90, 1), &["1"])], 0).await;
    take(3, vec![change(Op::Insert, &t, seq(95, 1), &["3", "a", "x"])], 0).await;
    // Late changes: of a key that nobody knows, and of one that was deleted since.
    take(4, vec![change(Op::Insert, &t, seq(20, 1), &["2", "b", "x"])], 5).await;
    take(5, vec![change(Op::Update, &t, seq(21, 1), &["1", "late", "x"])], 5).await;
    assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("2", "b"), ("3", "a")]));
}

#[tokio::test]
async fn tables_that_do_not_fit_the_checkpoint_are_a_gap() {
    async fn check(spoil: impl FnOnce(&World), expected: &str) {
        let world = World::new();
        let t = three("public.t");
        let (mut sink, _) = world.start().await.unwrap();
        for n in 1..3u64 {
            let insert = change(Op::Insert, &t, seq(n, 1), &[&n.to_string(), "a", "x"]);
            sink.write(batch(vec![insert], Some(&n.to_string()))).await.unwrap();
        }
        spoil(&world);
        let gap = match world.start().await {
            Err(error) => error,
            Ok((mut sink, _)) => {
                let insert = change(Op::Insert, &t, seq(3, 1), &["3", "a", "x"]);
                sink.write(batch(vec![insert], Some("3"))).await.unwrap_err()
            }
        };
        assert_eq!(gap.kind(), ErrorKind::Gap, "{gap}");
        assert!(gap.to_string().contains(expected), "{gap}");
        assert!(gap.remedy_text().is_some());
        if expected == "checkpoint is gone" {
            return;
        }
        let recorded = world.sink().recorded_checkpoint().await.unwrap();
        assert_eq!(text(recorded.as_ref()), Some("2"));
        let found = world.sink().find_gap().await.unwrap().unwrap();
        assert!(found.to_string().contains(expected), "{found}");
        world.sink().accept_gap(recorded, &Lineage::new("log"), 1).await.unwrap();
        let (mut sink, _) = world.start().await.unwrap();
        let at = |ordinal| walbrook_model::Seq::new(1, 1, 1, ordinal).unwrap();
        let slice = vec![
            change(Op::Read, &t, at(0), &["7", "read", "x"]),
            change(Op::SnapshotEnd, &t, at(0), &[]),
            change(Op::Insert, &t, at(1), &["8", "new", "x"]),
        ];
        sink.write(batch(slice, Some("3"))).await.unwrap();
        assert_eq!(world.pairs("public.t", "id", "a"), pairs(&[("7", "read"), ("8", "new")]));
        let lower = world.sink().accept_gap(None, &Lineage::new("log"), 0).await;
        assert_eq!(lower.unwrap_err().kind(), ErrorKind::Config);
    }
    let table = lake("public.t");
    check(|world| world.catalog.drop_table(&table), "it is gone").await;
    check(|world| world.catalog.drop_table(&control()), "checkpoint is gone").await;
    check(|world| world.catalog.tamper(&table, |state| state.uuid = uuid::Uuid::nil()), "another table").await;
    let back = |name: &'static str, value: &'static str| {
        move |world: &World| {
            world.catalog.tamper(&lake("public.t"), |state| {
                state.properties.insert(name.to_owned(), value.to_owned());
            });
        }
    };
    check(back("walbrook.commits", "1"), "further back").await;
    check(back("walbrook.complete-up-to", "1"), "further back").await;
}

#[tokio::test]
async fn a_lost_race_is_planned_again() {
    let world = World::new();
    let (t, log) = (three("public.t"), three("public.log"));
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![change(Op::Insert, &t, seq(1, 1), &["1", "a", "x"])], Some("1"))).await.unwrap();
    world.catalog.set_plan(|name, n| (*name != control() && n < 6).then_some(Fault::Conflict));
    let changes = vec![
        change(Op::Update, &t, seq(2, 1), &["1", "b", "?"]),
        change(Op::Insert, &t, seq(2, 2), &["2", "c", "y"]),
        change(Op::Insert, &log, seq(2, 3), &["2", "c", "y"]),
    ];
    sink.write(batch(changes, Some("2"))).await.unwrap();
    assert_eq!(world.pairs("public.t", "a", "b"), pairs(&[("b", "x"), ("c", "y")]));
    assert_eq!(world.rows("public.log").len(), 1);
    let tables = sink.status().tables();
    assert_eq!(tables.values().map(|table| table.conflicts).sum::<u64>(), 6);
    let data = std::fs::read_dir(world.folder.path().join("data/public.t")).unwrap().count();
    assert_eq!(data, world.catalog.state(&lake("public.t")).unwrap().files.len() + 1, "a file that lost stays");
}

#[tokio::test]
async fn an_endless_race_is_given_up() {
    let world = World::new();
    let t = three("public.t");
    let (mut sink, _) = world.start().await.unwrap();
    world.catalog.set_plan(|name, _| (*name != control()).then_some(Fault::Conflict));
    let lost = sink.write(batch(vec![change(Op::Insert, &t, seq(1, 1), &["1", "a", "x"])], Some("1"))).await;
    assert_eq!(lost.unwrap_err().kind(), ErrorKind::Transient);
    assert_eq!(sink.write(batch(vec![], None)).await.unwrap_err().kind(), ErrorKind::Bug, "only after a new start");
}

#[tokio::test]
async fn the_clock_commits_what_waits_and_an_idle_checkpoint() {
    let mut world = World::new();
    world.settings.commit_interval = Duration::from_mins(1);
    let t = three("public.t");
    let (mut sink, _) = world.start().await.unwrap();
    let mut first = batch(vec![change(Op::Insert, &t, seq(1, 1), &["1", "a", "x"])], Some("1"));
    first.complete_until_us = Some(5);
    sink.write(first).await.unwrap();
    assert!(world.rows("public.t").is_empty());
    assert_eq!(sink.status().complete_until_us(), None);
    assert!(sink.status().buffered_bytes() > 0);
    let past = |duration| Instant::now().checked_sub(duration).unwrap();
    // The first change after a pause waits for others, but not for long.
    sink.run.as_mut().unwrap().first_uncommitted = Some(past(Duration::from_secs(6)));
    sink.write(Batch::heartbeat()).await.unwrap();
    assert_eq!(world.rows("public.t").len(), 1);
    assert_eq!(text(sink.durable().as_ref()), Some("1"));
    assert_eq!(sink.status().complete_until_us(), Some(5));
    assert_eq!(sink.status().buffered_bytes(), 0);
    let mut idle = batch(vec![], Some("2"));
    idle.complete_until_us = Some(9);
    sink.write(idle).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("1"), "nothing new is covered, so it can wait");
    assert_eq!(sink.status().complete_until_us(), Some(9), "yet everything is in the lake");
    sink.run.as_mut().unwrap().checkpoint_at = past(Duration::from_secs(10));
    sink.write(Batch::heartbeat()).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("2"));
    // One that follows a commit waits until the interval from commit to commit is over.
    let second = batch(vec![change(Op::Insert, &t, seq(2, 1), &["2", "a", "x"])], Some("3"));
    sink.write(second).await.unwrap();
    sink.run.as_mut().unwrap().first_uncommitted = Some(past(Duration::from_secs(59)));
    sink.write(Batch::heartbeat()).await.unwrap();
    assert_eq!(world.rows("public.t").len(), 1);
    sink.run.as_mut().unwrap().committed_at = Some(past(Duration::from_mins(1)));
    sink.write(Batch::heartbeat()).await.unwrap();
    assert_eq!(world.rows("public.t").len(), 2);
}

#[tokio::test]
async fn a_partial_row_takes_the_default_of_a_column_that_its_stored_row_lacks() {
    let world = World::new();
    let old = three("public.t");
    let mut columns = old.columns.clone();
    let mut added = column("c", ColumnType::Text);
    added.initial_default = Some(b"default"[..].into());
    columns.push(added);
    let new = schema("public.t", columns, &[0]);
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![change(Op::Insert, &old, seq(1, 1), &["1", "a", "x"])], Some("1"))).await.unwrap();
    let update = vec![
        change(Op::Update, &new, seq(2, 1), &["1", "b", "?", "?"]),
        change(Op::Insert, &new, seq(2, 2), &["2", "b", "y", "own"]),
    ];
    sink.write(batch(update, Some("2"))).await.unwrap();
    assert_eq!(world.pairs("public.t", "b", "c"), pairs(&[("x", "default"), ("y", "own")]));
}
