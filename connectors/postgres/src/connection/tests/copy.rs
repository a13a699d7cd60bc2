use bytes::Bytes;
use walbrook_config::Postgres;
use walbrook_model::{ErrorKind, Result};

use super::servers;
use crate::connection::CopyConnection;
use crate::connection::error::sqlstate;

async fn read(session: &mut CopyConnection, query: &str) -> Result<Vec<Bytes>> {
    session.copy_out(&format!("COPY ({query}) TO STDOUT")).await?;
    let (mut all, mut lines) = (Vec::new(), Vec::new());
    while session.lines(&mut lines).await? {
        assert!(!lines.is_empty());
        all.append(&mut lines);
    }
    assert!(lines.is_empty());
    Ok(all)
}

#[tokio::test]
async fn rows_come_whole_whatever_their_size() {
    for settings in servers("copy") {
        let mut session = CopyConnection::connect(&settings).await.unwrap();
        let lines = read(&mut session, "SELECT repeat('x', i * i) FROM generate_series(0, 1500) i").await.unwrap();
        let sizes: Vec<usize> = lines.iter().map(Bytes::len).collect();
        assert_eq!(sizes, (0..=1500).map(|i| i * i + 1).collect::<Vec<_>>());
        assert!(lines.iter().all(|line| line.ends_with(b"\n")));
        assert_eq!(session.number::<u32>("SELECT 7").await.unwrap(), 7);
    }
}

#[tokio::test]
async fn a_row_above_the_limit_is_an_error_and_the_session_goes_on() {
    for settings in servers("copy limit") {
        let mut session = CopyConnection::connect(&Postgres { message_bytes_max: 1000, ..settings }).await.unwrap();
        // The large row first, last, and larger than any buffer.
        for sizes in ["999, 1000, 5", "5, 1000", "5, 50000000, 5", "50000000"] {
            let query = format!("SELECT repeat('x', size) FROM unnest(ARRAY[{sizes}]) size");
            let error = read(&mut session, &query).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.remedy_text().unwrap().contains("message_bytes_max"), "{error}");
            assert_eq!(session.number::<u32>("SELECT 7").await.unwrap(), 7, "{sizes}");
        }
        assert_eq!(read(&mut session, "SELECT repeat('x', 999)").await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_error_of_the_server_ends_the_copy_and_not_the_session() {
    for settings in servers("copy error") {
        let mut session = CopyConnection::connect(&settings).await.unwrap();
        let error = read(&mut session, "SELECT 1 / (5000 - i) FROM generate_series(1, 10000) i").await.unwrap_err();
        assert_eq!(sqlstate(&error), Some("22012"));
        let error = read(&mut session, "SELECT * FROM nowhere").await.unwrap_err();
        assert_eq!(sqlstate(&error), Some("42P01"));
        assert_eq!(session.number::<u32>("SELECT 7").await.unwrap(), 7);
        let fatal = read(&mut session, "SELECT pg_terminate_backend(pg_backend_pid())").await.unwrap_err();
        assert_eq!((fatal.kind(), sqlstate(&fatal)), (ErrorKind::Transient, Some("57P01")));
    }
}

#[tokio::test]
async fn a_copy_that_is_left_does_not_reach_the_next_command() {
    for settings in servers("copy left") {
        let mut session = CopyConnection::connect(&settings).await.unwrap();
        session.copy_out("COPY (SELECT i FROM generate_series(1, 1000000) i) TO STDOUT").await.unwrap();
        assert!(session.lines(&mut Vec::new()).await.unwrap());
        assert_eq!(session.number::<u32>("SELECT 7").await.unwrap(), 7);
    }
}
