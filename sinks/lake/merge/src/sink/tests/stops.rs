//! Tables that stop.

use walbrook_config::TableMode;
use walbrook_model::{Change, ColumnType, ErrorKind, Op, Sink as _};

use super::harness::*;
use crate::testing::{column, schema};

fn good(n: u64) -> Change {
    change(Op::Insert, &three("public.good"), seq(n, 1), &[&n.to_string(), "a", "x"])
}

fn bad(n: u64, cells: &[&str]) -> Change {
    change(Op::Update, &three("public.bad"), seq(n, 2), cells)
}

#[tokio::test]
async fn a_table_that_stops_holds_the_checkpoint_but_not_the_others() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    let insert = change(Op::Insert, &three("public.bad"), seq(1, 2), &["1", "a", "x"]);
    sink.write(batch(vec![good(1), insert], Some("1"))).await.unwrap();
    let before_it = bad(2, &["1", "kept", "x"]);
    sink.write(batch(
        vec![good(2), before_it, change(Op::Update, &three("public.bad"), seq(2, 3), &["x", "b", "y"])],
        Some("2"),
    ))
    .await
    .unwrap();
    sink.write(batch(vec![good(3), bad(3, &["1", "after", "x"])], Some("3"))).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("1"), "the checkpoint stays before what was not taken");
    assert_eq!(world.rows("public.good").len(), 3);
    assert_eq!(world.pairs("public.bad", "id", "a"), [("1".to_owned(), "kept".to_owned())]);
    let stopped = sink.status().tables()["public.bad"].stopped.clone().unwrap();
    assert!(stopped.reason.contains("public.bad") && !stopped.gap, "{stopped:?}");
    assert!(stopped.parked_bytes > 0);
    assert!(sink.status().checkpoint_held());
    assert!(sink.status().tables()["public.good"].stopped.is_none());
    // A restart begins again where the table stopped.
    let (_, found) = world.start().await.unwrap();
    assert_eq!(text(found.as_ref()), Some("1"));
}

#[tokio::test]
async fn beyond_the_bound_a_stopped_table_is_a_gap_that_the_checkpoint_passes() {
    let mut world = World::new();
    world.pipeline.parked_bytes = 600;
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![good(1)], Some("1"))).await.unwrap();
    for n in 2..9 {
        sink.write(batch(vec![good(n), bad(n, &["1", "?", "x"])], Some(&n.to_string()))).await.unwrap();
    }
    assert_eq!(text(sink.durable().as_ref()), Some("8"));
    assert!(sink.status().tables()["public.bad"].stopped.as_ref().unwrap().gap);
    assert!(!sink.status().checkpoint_held());
    let (mut sink, found) = world.start().await.unwrap();
    assert_eq!(text(found.as_ref()), Some("8"));
    sink.write(batch(vec![good(9), change(Op::Insert, &three("public.bad"), seq(9, 2), &["5", "a", "x"])], Some("9")))
        .await
        .unwrap();
    assert!(world.rows("public.bad").is_empty(), "a gap is closed by an operator, not by a restart");
    assert_eq!(text(sink.durable().as_ref()), Some("9"));
    let checkpoint = walbrook_model::Checkpoint::new("9");
    world.sink().accept_gap(Some(checkpoint), &walbrook_model::Lineage::new("log"), 0).await.unwrap();
    let (mut sink, _) = world.start().await.unwrap();
    let insert = change(Op::Insert, &three("public.bad"), seq(10, 2), &["5", "a", "x"]);
    sink.write(batch(vec![insert], Some("10"))).await.unwrap();
    assert_eq!(world.rows("public.bad").len(), 1);
}

#[tokio::test]
async fn a_commit_that_one_table_cannot_make_holds_the_checkpoint() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![good(1)], Some("1"))).await.unwrap();
    // No earlier value is known: that is seen at the commit only.
    sink.write(batch(vec![good(2), bad(2, &["1", "?", "x"])], Some("2"))).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("1"));
    assert_eq!(world.rows("public.good").len(), 2);
    let stopped = sink.status().tables()["public.bad"].stopped.clone().unwrap();
    assert!(stopped.reason.contains("column a: the log does not carry"), "{stopped:?}");
    assert!(stopped.remedy.unwrap().contains("REPLICA IDENTITY FULL"));
}

#[tokio::test]
async fn what_concerns_one_table_stops_one_table() {
    async fn check(table: &str, prepare: impl AsyncFnOnce(&World), expected: &str) {
        let world = World::new();
        prepare(&world).await;
        let (mut sink, _) = world.start().await.unwrap();
        let columns = vec![column("id", ColumnType::Int64), column("_seq", ColumnType::Text)];
        let schema = match table {
            "public.keyless" => schema(table, three(table).columns.clone(), &[]),
            "public.clash" => schema(table, columns, &[0]),
            _ => three(table),
        };
        let cells: &[&str] = if table == "public.clash" { &["1", "a"] } else { &["1", "a", "x"] };
        sink.write(batch(vec![change(Op::Insert, &schema, seq(1, 2), cells), good(1)], Some("1"))).await.unwrap();
        assert_eq!(world.rows("public.good").len(), 1);
        let stopped = sink.status().tables()[table].stopped.clone().unwrap();
        assert!(stopped.reason.contains(expected), "{stopped:?}");
        assert!(stopped.remedy.is_some(), "{stopped:?}");
    }
    let nothing = async |_: &World| {};
    check("public.keyless", nothing, "no primary key").await;
    check("public.clash", nothing, "walbrook's own").await;
    check("walbrook.walbrook_shop", nothing, "checkpoint table").await;
    let foreign = async |world: &World| {
        use crate::format::LakeCatalog as _;
        let layout = crate::layout::Layout::of(&three("public.t"), TableMode::Upsert).unwrap();
        world.catalog.create(&lake("public.t"), &layout, std::collections::BTreeMap::new()).await.unwrap();
    };
    check("public.t", foreign, "walbrook did not make it").await;
    let other_pipeline = async |world: &World| {
        let mut other = World::new();
        other.catalog = world.catalog.clone();
        other.pipeline.name = "other".to_owned();
        let (mut sink, _) = other.start().await.unwrap();
        let insert = change(Op::Insert, &three("public.t"), seq(1, 1), &["1", "a", "x"]);
        sink.write(batch(vec![insert], Some("1"))).await.unwrap();
    };
    check("public.t", other_pipeline, "belongs to pipeline other").await;
}

#[tokio::test]
async fn a_shape_that_cannot_be_followed_stops_its_table() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![good(1)], Some("1"))).await.unwrap();
    let two = schema("public.good", three("public.good").columns[..2].to_vec(), &[0]);
    sink.write(batch(vec![change(Op::Insert, &two, seq(2, 1), &["2", "a"])], Some("2"))).await.unwrap();
    let stopped = sink.status().tables()["public.good"].stopped.clone().unwrap();
    assert!(stopped.reason.contains("column b was dropped or renamed"), "{stopped:?}");
    assert_eq!(world.rows("public.good").len(), 1);
}

#[tokio::test]
async fn two_source_tables_do_not_share_a_lake_table() {
    let mut world = World::new();
    world.settings.namespace = Some("lake".to_owned());
    let (mut sink, _) = world.start().await.unwrap();
    let insert = |table: &str, n| change(Op::Insert, &three(table), seq(n, 1), &["1", "a", "x"]);
    sink.write(batch(vec![insert("one.t", 1), insert("two.t", 2)], Some("1"))).await.unwrap();
    assert_eq!(world.rows("lake.t").len(), 1);
    let stopped = sink.status().tables()["two.t"].stopped.clone().unwrap();
    assert!(stopped.reason.contains("already holds source table one.t"), "{stopped:?}");
    assert!(world.catalog.state(&lake("lake.walbrook_shop")).is_some());
}

#[tokio::test]
async fn a_mode_that_changed_stops_its_table() {
    let mut world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![good(1)], Some("1"))).await.unwrap();
    world.settings.mode = TableMode::Append;
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![good(2)], Some("2"))).await.unwrap();
    let stopped = sink.status().tables()["public.good"].stopped.clone().unwrap();
    assert!(stopped.reason.contains("made with mode upsert"), "{stopped:?}");
}

#[tokio::test]
async fn a_row_of_somebody_else_stops_the_table() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![good(1)], Some("1"))).await.unwrap();
    world.catalog.tamper(&lake("public.good"), |state| {
        let again = state.files[0].clone();
        let copy = std::path::PathBuf::from(&again.file.path).with_extension("copy.parquet");
        std::fs::copy(&again.file.path, &copy).unwrap();
        let mut again = again;
        again.file.path = copy.display().to_string();
        state.files.push(again);
    });
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![good(2)], Some("2"))).await.unwrap();
    let stopped = sink.status().tables()["public.good"].stopped.clone().unwrap();
    assert!(stopped.reason.contains("two live rows"), "{stopped:?}");
    let gone = |result: walbrook_model::Result<()>| result.unwrap_err().kind();
    assert_eq!(gone(world.sink().write(batch(vec![], None)).await), ErrorKind::Bug, "a sink that was never started");
}

/// A batch in which the source says that it left `bytes` of `public.bad` out from the change at `n` on.
fn left_out(n: u64, changes: Vec<Change>, bytes: u64) -> walbrook_model::Batch {
    let error = walbrook_model::Error::data("the log does not carry the old key of a row")
        .on("table public.bad")
        .remedy("ALTER TABLE public.bad REPLICA IDENTITY FULL");
    let (table, since) = (three("public.bad").table.clone(), Some(seq(n, 2)));
    let stop = walbrook_model::TableStop { table, since, lost: false, error: error.into(), bytes };
    walbrook_model::Batch { stopped: vec![stop], ..batch(changes, Some(&n.to_string())) }
}

#[tokio::test]
async fn a_table_that_the_source_stops_is_like_one_that_the_sink_stops() {
    let mut world = World::new();
    world.pipeline.parked_bytes = 600;
    let (mut sink, _) = world.start().await.unwrap();
    let insert = |n: u64| change(Op::Insert, &three("public.bad"), seq(n, 2), &["1", "a", "x"]);
    sink.write(batch(vec![good(1), insert(1)], Some("1"))).await.unwrap();
    // What came before the stop in its own transaction is taken.
    let kept = change(Op::Update, &three("public.bad"), seq(2, 2), &["1", "kept", "x"]);
    sink.write(left_out(2, vec![good(2), kept], 250)).await.unwrap();
    sink.write(left_out(3, vec![good(3)], 250)).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("1"), "the checkpoint stays before what was left out");
    assert_eq!(world.rows("public.good").len(), 3);
    assert_eq!(world.pairs("public.bad", "id", "a"), [("1".to_owned(), "kept".to_owned())]);
    let stopped = sink.status().tables()["public.bad"].stopped.clone().unwrap();
    assert_eq!(stopped.reason, "table public.bad: the log does not carry the old key of a row");
    assert!(stopped.remedy.unwrap().contains("REPLICA IDENTITY FULL") && sink.status().checkpoint_held());
    assert_eq!((stopped.parked_bytes, stopped.gap), (500, false));
    // It is told to an operator who wants to accept it.
    assert!(world.sink().find_gap().await.unwrap().is_some());
    // Not durable: a restart begins before the stop, and the source meets it again; here before any other change.
    let (mut sink, found) = world.start().await.unwrap();
    assert_eq!(text(found.as_ref()), Some("1"));
    assert!(sink.status().tables().get("public.bad").is_none_or(|table| table.stopped.is_none()));
    sink.write(left_out(2, vec![good(2)], 250)).await.unwrap();
    sink.write(left_out(3, vec![good(3)], 250)).await.unwrap();
    assert!(sink.durable().is_none() && sink.status().checkpoint_held());
    sink.write(left_out(4, vec![good(4)], 250)).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("4"), "beyond the bound the checkpoint goes on without it");
    assert!(sink.status().tables()["public.bad"].stopped.as_ref().unwrap().gap);
    let gap = world.sink().find_gap().await.unwrap().unwrap();
    assert!(gap.to_string().contains("does not carry the old key"), "{gap}");
    // Durable: the source may meet it again or go on, nothing of it counts.
    let (mut sink, found) = world.start().await.unwrap();
    assert_eq!(text(found.as_ref()), Some("4"));
    sink.write(batch(vec![good(5), insert(5)], Some("5"))).await.unwrap();
    sink.write(left_out(6, vec![good(6)], 250)).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("6"));
    assert_eq!(world.pairs("public.bad", "id", "a"), [("1".to_owned(), "kept".to_owned())]);
    assert!(sink.status().tables()["public.bad"].stopped.as_ref().unwrap().gap);
    let lineage = walbrook_model::Lineage::new("log");
    world.sink().accept_gap(Some(walbrook_model::Checkpoint::new("6")), &lineage, 0).await.unwrap();
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![insert(7)], Some("7"))).await.unwrap();
    assert_eq!(world.pairs("public.bad", "id", "a"), [("1".to_owned(), "a".to_owned())]);
    assert!(sink.status().tables()["public.bad"].stopped.is_none());
    assert!(world.sink().find_gap().await.unwrap().is_none());
}

#[tokio::test]
async fn a_stop_that_a_restart_does_not_meet_again_is_forgotten() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    assert!(world.sink().find_gap().await.unwrap().is_none());
    sink.write(batch(vec![good(1)], Some("1"))).await.unwrap();
    assert!(world.sink().find_gap().await.unwrap().is_none());
    sink.write(left_out(2, vec![good(2)], 1)).await.unwrap();
    assert!(world.sink().find_gap().await.unwrap().is_some());
    let (mut sink, _) = world.start().await.unwrap();
    let insert = change(Op::Insert, &three("public.bad"), seq(2, 2), &["1", "a", "x"]);
    sink.write(batch(vec![good(2), insert], Some("2"))).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("2"));
    assert!(world.sink().find_gap().await.unwrap().is_none());
}

#[tokio::test]
async fn a_stop_in_a_transaction_without_its_end_is_not_lost() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![good(1)], Some("1"))).await.unwrap();
    sink.write(batch(vec![good(2)], None)).await.unwrap();
    let no_end = walbrook_model::Batch { checkpoint: None, ..left_out(2, vec![], 100) };
    sink.write(no_end).await.unwrap();
    assert!(!sink.status().tables().contains_key("public.bad"));
    sink.write(batch(vec![], Some("2"))).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("1"));
    assert_eq!(world.rows("public.good").len(), 2);
    assert!(sink.status().tables()["public.bad"].stopped.is_some());
}

#[tokio::test]
async fn a_table_that_cannot_be_read_is_told_and_holds_nothing() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    let unread = |n: u64| {
        let mut batch = left_out(n, vec![good(n)], 0);
        batch.stopped[0].since = None;
        batch
    };
    sink.write(unread(1)).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("1"));
    let stopped = sink.status().tables()["public.bad"].stopped.clone().unwrap();
    assert!(stopped.remedy.is_some() && !stopped.gap && !sink.status().checkpoint_held());
    // It was mended: it is read whole.
    let slice = seq(2, 0);
    let read = change(Op::Read, &three("public.bad"), slice, &["1", "a", "x"]);
    sink.write(batch(vec![read, change(Op::SnapshotEnd, &three("public.bad"), slice, &[])], Some("2"))).await.unwrap();
    assert!(sink.status().tables()["public.bad"].stopped.is_none());
    assert_eq!(world.rows("public.bad").len(), 1);
}

#[tokio::test]
async fn what_the_log_does_not_have_is_a_gap_at_once() {
    let world = World::new();
    let (mut sink, _) = world.start().await.unwrap();
    sink.write(batch(vec![good(1)], Some("1"))).await.unwrap();
    let mut lost = left_out(2, vec![good(2)], 0);
    lost.stopped[0].lost = true;
    sink.write(lost).await.unwrap();
    assert_eq!(text(sink.durable().as_ref()), Some("2"), "no replay brings it, so the checkpoint does not wait");
    let (sink, _) = world.start().await.unwrap();
    assert!(sink.status().tables()["public.bad"].stopped.as_ref().unwrap().gap);
    assert!(sink.find_gap().await.unwrap().is_some());
}

#[tokio::test]
async fn a_default_that_no_lake_column_can_have_stops_its_table_alone() {
    let list = |element| ColumnType::List(Box::new(element));
    let cases = [
        (list(ColumnType::Text), &b"{}"[..]),
        (list(ColumnType::Int32), b"{1,2}"),
        (ColumnType::Float64, b"Infinity"),
        (ColumnType::Timestamp, b"infinity"),
    ];
    for (ty, default) in cases {
        let world = World::new();
        let (t, other) = (three("public.t"), three("public.other"));
        let mut columns = t.columns.clone();
        let mut added = column("n", ty);
        added.initial_default = Some(default.into());
        columns.push(added);
        let wider = schema("public.t", columns, &[0]);
        let (mut sink, _) = world.start().await.unwrap();
        sink.write(batch(vec![change(Op::Insert, &t, seq(1, 1), &["1", "a", "x"])], Some("1"))).await.unwrap();
        let changes = vec![
            change(Op::Insert, &wider, seq(2, 1), &["2", "b", "y", "~"]),
            change(Op::Insert, &other, seq(2, 2), &["3", "c", "z"]),
        ];
        sink.write(batch(changes, Some("2"))).await.unwrap();
        assert_eq!(world.pairs("public.t", "id", "a"), [("1".to_owned(), "a".to_owned())]);
        assert_eq!(world.pairs("public.other", "id", "a"), [("3".to_owned(), "c".to_owned())]);
        let tables = sink.status().tables();
        let stopped = tables["public.t"].stopped.as_ref().expect("a stop");
        let expected = "column n was added with a default that a lake column cannot have";
        assert!(stopped.reason.contains(expected), "{stopped:?}");
        assert!(tables["public.other"].stopped.is_none());
    }
}
