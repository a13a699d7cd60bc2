use std::time::{Duration, Instant};

use tokio_postgres::Client;
use walbrook_config::Postgres;
use walbrook_model::{Cell, Error, ErrorKind};

use super::{admin, run, servers, unique, value};
use crate::connection::error::sqlstate;
use crate::connection::{Frame, ReplicationConnection, ReplicationStream};
use crate::sql::{quote_ident, quote_literal};
use crate::wire::Lsn;
use crate::wire::pgoutput::{self, Message};

const TICK: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(30);

/// A table, its publication and a slot.
struct Scene {
    settings: Postgres,
    admin: Client,
    table: String,
}

impl Scene {
    async fn new(settings: &Postgres) -> Self {
        let admin = admin(settings).await;
        let table = format!("public.{}", unique("table"));
        run(&admin, &format!("CREATE TABLE {table} (id int PRIMARY KEY, name text)")).await;
        run(&admin, &format!("CREATE PUBLICATION {} FOR TABLE {table}", settings.publication)).await;
        let mut connection = ReplicationConnection::connect(settings).await.unwrap();
        let slot = quote_ident(&settings.slot);
        let command = format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput NOEXPORT_SNAPSHOT");
        let created = connection.query(&command).await.unwrap();
        assert_eq!(created[0][0].as_deref(), Some(settings.slot.as_str()));
        Self { settings: settings.clone(), admin, table }
    }

    async fn start(&self, prepare: &str) -> Result<ReplicationStream, Error> {
        let mut connection = ReplicationConnection::connect(&self.settings).await?;
        connection.query(prepare).await?;
        connection.start(&start_command(&self.settings)).await
    }

    async fn confirmed(&self) -> Lsn {
        let slot = quote_literal(&self.settings.slot);
        let sql = format!("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = {slot}");
        value(&self.admin, &sql).await.parse().unwrap()
    }

    async fn end(self) {
        let slot = quote_literal(&self.settings.slot);
        let sql = format!("SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = {slot} AND active");
        let begun = Instant::now();
        while value(&self.admin, &sql).await != "0" {
            assert!(begun.elapsed() < PATIENCE, "the slot stays in use");
            tokio::time::sleep(TICK).await;
        }
        run(&self.admin, &format!("SELECT pg_drop_replication_slot({slot})")).await;
        run(&self.admin, &format!("DROP TABLE {}; DROP PUBLICATION {}", self.table, self.settings.publication)).await;
    }
}

fn start_command(settings: &Postgres) -> String {
    let publication = quote_literal(&quote_ident(&settings.publication));
    let slot = quote_ident(&settings.slot);
    format!(
        "START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names {publication}, messages 'true')"
    )
}

/// The messages up to the commit of so many transactions that hold rows.
async fn read(stream: &mut ReplicationStream, transactions: usize) -> Vec<Message> {
    let (mut messages, mut commits, begun) = (Vec::new(), 0, Instant::now());
    while commits < transactions {
        assert!(begun.elapsed() < PATIENCE, "only {commits} of {transactions} transactions came");
        for frame in stream.next(TICK).await.unwrap() {
            if let Frame::Data { message, .. } = frame {
                let message = pgoutput::decode(&message).unwrap();
                if matches!(&message, Message::Message(message) if !message.transactional) {
                    continue;
                }
                messages.push(message);
                if let Some(Message::Commit { .. }) = messages.last() {
                    let begin = messages.iter().rposition(|message| matches!(message, Message::Begin { .. })).unwrap();
                    let inside = &messages[begin + 1..messages.len() - 1];
                    // Messages are of other tests too; servers before 15 send transactions that hold nothing for us.
                    if inside.iter().all(|message| matches!(message, Message::Message(_))) {
                        messages.truncate(begin);
                    } else {
                        commits += 1;
                    }
                }
            }
        }
    }
    messages
}

async fn failure(stream: &mut ReplicationStream) -> Error {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no error came");
        if let Err(error) = stream.next(TICK).await {
            return error;
        }
    }
}

#[tokio::test]
async fn changes_come_once_and_what_is_reported_is_forgotten() {
    for settings in servers("stream") {
        let scene = Scene::new(&settings).await;
        let mut stream = scene.start("SELECT 1").await.unwrap();
        let table = &scene.table;
        run(&scene.admin, &format!("BEGIN; INSERT INTO {table} VALUES (1, 'a'), (2, NULL); UPDATE {table} SET name = '' WHERE id = 1;
                                    UPDATE {table} SET id = 3 WHERE id = 2; DELETE FROM {table} WHERE id = 1;
                                    SELECT pg_logical_emit_message(true, 'walbrook', 'hello'); TRUNCATE {table}; COMMIT")).await;
        let messages = read(&mut stream, 1).await;
        // A truncate gives the table a new file, so that its shape is sent again before.
        assert_eq!(
            messages.iter().map(kind).collect::<Vec<_>>(),
            "begin relation insert insert update update-key delete-key message relation truncate commit"
                .split(' ')
                .collect::<Vec<_>>()
        );
        let Message::Insert { new, .. } = &messages[3] else { panic!("not an insert") };
        assert_eq!([new.cell(0), new.cell(1)], [Cell::Data(b"2"), Cell::Null]);
        let (Some(Message::Begin { final_lsn, .. }), Some(Message::Commit { commit_lsn, end_lsn, .. })) =
            (messages.first(), messages.last())
        else {
            panic!("not a transaction")
        };
        assert_eq!(final_lsn, commit_lsn);

        stream.report(*end_lsn);
        let begun = Instant::now();
        while scene.confirmed().await != *end_lsn {
            assert!(begun.elapsed() < Duration::from_secs(3), "the report did not arrive");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        run(&scene.admin, &format!("INSERT INTO {table} VALUES (4, 'b')")).await;
        let second = read(&mut stream, 1).await;
        let Some(Message::Commit { end_lsn: second_end, .. }) = second.last() else { panic!("no commit") };
        stream.stop(*second_end).await.unwrap();
        assert_eq!(scene.confirmed().await, *second_end);

        let mut stream = scene.start("SELECT 1").await.unwrap();
        run(&scene.admin, &format!("INSERT INTO {table} VALUES (5, 'c')")).await;
        let third = read(&mut stream, 1).await;
        assert_eq!(third.iter().map(kind).collect::<Vec<_>>(), ["begin", "relation", "insert", "commit"]);
        drop(stream);
        scene.end().await;
    }
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Begin { .. } => "begin",
        Message::Message(_) => "message",
        Message::Commit { .. } => "commit",
        Message::Origin { .. } => "origin",
        Message::Relation(_) => "relation",
        Message::Type { .. } => "type",
        Message::Insert { .. } => "insert",
        Message::Update { old: None, .. } => "update",
        Message::Update { old: Some(old), .. } => {
            if old.key_only {
                "update-key"
            } else {
                "update-full"
            }
        }
        Message::Delete { old, .. } => {
            if old.key_only {
                "delete-key"
            } else {
                "delete-full"
            }
        }
        Message::Truncate { .. } => "truncate",
    }
}

#[tokio::test]
async fn an_idle_server_keeps_the_stream_alive_and_moving() {
    for settings in servers("idle") {
        let scene = Scene::new(&settings).await;
        let mut stream = scene.start("SET wal_sender_timeout = '2s'").await.unwrap();
        let (begun, mut first, mut last) = (Instant::now(), None, Lsn(0));
        // Others write: the position must follow although nothing is for us.
        let noise = format!("public.{}", unique("noise"));
        run(&scene.admin, &format!("CREATE TABLE {noise} (id int)")).await;
        while begun.elapsed() < Duration::from_secs(5) {
            run(&scene.admin, &format!("INSERT INTO {noise} VALUES (1)")).await;
            for frame in stream.next(TICK).await.unwrap() {
                if let Frame::Keepalive { end, .. } = frame {
                    first.get_or_insert(end);
                    last = end;
                    stream.report(end);
                }
            }
        }
        assert!(first.is_some_and(|first| first < last), "from {first:?} to {last}");
        stream.stop(last).await.unwrap();
        assert_eq!(scene.confirmed().await, last);
        run(&scene.admin, &format!("DROP TABLE {noise}")).await;
        scene.end().await;
    }
}

#[tokio::test]
async fn a_consumer_that_sleeps_does_not_lose_the_connection() {
    for settings in servers("sleep") {
        let scene = Scene::new(&settings).await;
        let mut stream = scene.start("SET wal_sender_timeout = '4s'").await.unwrap();
        tokio::time::sleep(Duration::from_secs(9)).await;
        run(&scene.admin, &format!("INSERT INTO {} VALUES (1, 'a')", scene.table)).await;
        assert_eq!(read(&mut stream, 1).await.len(), 4);
        drop(stream);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_consumer_that_sleeps_while_much_comes_loses_neither_rows_nor_the_connection() {
    const ROWS: usize = 60_000;
    for settings in servers("full") {
        let scene = Scene::new(&settings).await;
        let mut stream = scene.start("SET wal_sender_timeout = '3s'").await.unwrap();
        // More than the stream, the sockets and the server's buffers hold.
        let sql = format!("INSERT INTO {} SELECT n, repeat('x', 1000) FROM generate_series(1, {ROWS}) n", scene.table);
        run(&scene.admin, &sql).await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let messages = read(&mut stream, 1).await;
        let ids: Vec<String> = messages
            .iter()
            .filter_map(|message| match message {
                Message::Insert { new, .. } => Some(new.cell(0)),
                _ => None,
            })
            .map(|cell| match cell {
                Cell::Data(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(ids.iter().enumerate().all(|(index, id)| *id == (index + 1).to_string()));
        assert_eq!(ids.len(), ROWS);
        drop(stream);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_with_a_remedy() {
    for mut settings in servers("limit") {
        settings.message_bytes_max = 10_000;
        let scene = Scene::new(&settings).await;
        let mut stream = scene.start("SELECT 1").await.unwrap();
        run(&scene.admin, &format!("INSERT INTO {} VALUES (1, repeat('x', 9000))", scene.table)).await;
        read(&mut stream, 1).await;
        run(&scene.admin, &format!("INSERT INTO {} VALUES (2, repeat('x', 11000))", scene.table)).await;
        let error = failure(&mut stream).await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("message_bytes_max"), "{error}");
        scene.end().await;
    }
}

#[tokio::test]
async fn a_slot_in_use_a_missing_slot_and_a_killed_server_process_are_told_apart() {
    for settings in servers("errors") {
        let scene = Scene::new(&settings).await;
        let mut stream = scene.start("SELECT 1").await.unwrap();
        let busy = scene.start("SELECT 1").await.unwrap_err();
        assert_eq!((busy.kind(), sqlstate(&busy)), (ErrorKind::Transient, Some("55006")));

        let mut missing = settings.clone();
        missing.slot = "no_such_slot".to_owned();
        let connection = ReplicationConnection::connect(&missing).await.unwrap();
        let missing = connection.start(&start_command(&missing)).await.unwrap_err();
        assert_eq!((missing.kind(), sqlstate(&missing)), (ErrorKind::Gap, Some("42704")));

        let slot = quote_literal(&settings.slot);
        run(
            &scene.admin,
            &format!("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = {slot}"),
        )
        .await;
        let killed = failure(&mut stream).await;
        assert_eq!((killed.kind(), sqlstate(&killed)), (ErrorKind::Transient, Some("57P01")));
        assert!(stream.next(TICK).await.is_err());
        assert!(stream.stop(Lsn(0)).await.is_err());
        scene.end().await;
    }
}

#[tokio::test]
async fn a_missing_publication_is_a_gap_or_a_notice() {
    for settings in servers("publication") {
        let scene = Scene::new(&settings).await;
        let publication = &settings.publication;
        run(&scene.admin, &format!("DROP PUBLICATION {publication}")).await;
        run(&scene.admin, &format!("INSERT INTO {} VALUES (1, 'a')", scene.table)).await;
        run(&scene.admin, &format!("CREATE PUBLICATION {publication} FOR TABLE {}", scene.table)).await;
        let mut stream = scene.start("SELECT 1").await.unwrap();
        let begun = Instant::now();
        'wait: loop {
            assert!(begun.elapsed() < PATIENCE, "the server said nothing");
            match stream.next(TICK).await {
                Ok(frames) => {
                    for frame in frames {
                        if let Frame::Notice { severity, message, .. } = frame {
                            assert_eq!(severity, "WARNING");
                            assert!(message.contains(publication), "{message}");
                            break 'wait;
                        }
                    }
                }
                Err(error) => {
                    assert_eq!((error.kind(), sqlstate(&error)), (ErrorKind::Gap, Some("42704")));
                    break;
                }
            }
        }
        drop(stream);
        scene.end().await;
    }
}
