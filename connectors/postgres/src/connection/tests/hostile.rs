//! Servers that misbehave: none of them may hang, panic or convince us.

use std::future::Future;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use walbrook_config::{Postgres, TlsMode};
use walbrook_model::{Error, ErrorKind};

use super::settings;
use crate::connection::pins::{self, Purpose};
use crate::connection::{Frame, ReplicationConnection};
use crate::sql;

/// A server that treats each connection alike, and the settings to reach it.
async fn server<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Postgres {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings("127.0.0.1", listener.local_addr().unwrap().port());
    settings.connect_timeout = Duration::from_secs(20);
    settings.password = Some("canary".into());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    settings
}

/// A server that reads the startup message, sends `answer` and ends its side.
async fn answering(answer: Vec<u8>) -> Postgres {
    server(move |mut socket| {
        let answer = answer.clone();
        async move {
            let _ = startup(&mut socket).await;
            let _ = socket.write_all(&answer).await;
            let _ = socket.shutdown().await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
    })
    .await
}

/// Reads a message that has no type byte.
async fn startup(socket: &mut TcpStream) -> std::io::Result<()> {
    let length = socket.read_u32().await?;
    socket.read_exact(&mut vec![0; length as usize - 4]).await.map(drop)
}

/// Reads a message; its body.
async fn receive(socket: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    socket.read_u8().await?;
    let mut body = vec![0; socket.read_u32().await? as usize - 4];
    socket.read_exact(&mut body).await?;
    Ok(body)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    message.extend(body);
    message
}

fn authentication(code: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes(), rest].concat())
}

/// What a good server says up to its first answer, which tells that all settings were taken.
fn good_session() -> Vec<u8> {
    let asked = pins::startup(Purpose::Replication, "", "");
    let cells = ["180000"].into_iter().chain(asked.iter().skip(3).map(|(_, value)| *value)).collect::<Vec<_>>();
    let mut row = u16::try_from(cells.len()).unwrap().to_be_bytes().to_vec();
    for cell in cells {
        row.extend(u32::try_from(cell.len()).unwrap().to_be_bytes());
        row.extend(cell.as_bytes());
    }
    let ready = message(b'Z', b"I");
    [authentication(0, b""), message(b'S', b"TimeZone\0UTC\0"), ready.clone(), message(b'D', &row), ready].concat()
}

async fn check(settings: &Postgres, kind: ErrorKind, part: &str) {
    let begun = Instant::now();
    let replication = ReplicationConnection::connect(settings).await.map(drop).expect_err("it was taken");
    let sql = sql::connect(settings).await.map(drop).expect_err("it was taken");
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    for error in [replication, sql] {
        let text = format!("{error} {error:?}");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(text.contains(part), "{error}");
        assert!(!text.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_absent_or_another_is_named() {
    let mut silent = server(|socket| async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(socket);
    })
    .await;
    silent.connect_timeout = Duration::from_millis(200);
    check(&silent, ErrorKind::Transient, "no connection within").await;
    silent.tls.mode = TlsMode::VerifyFull;
    check(&silent, ErrorKind::Transient, "no connection within").await;

    let gone = settings("127.0.0.1", 1);
    check(&gone, ErrorKind::Transient, "server 127.0.0.1:1").await;

    check(&answering(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await, ErrorKind::Config, "limit").await;
    check(&answering(message(b'X', b"")).await, ErrorKind::Config, "no PostgreSQL server").await;
    check(&answering(Vec::new()).await, ErrorKind::Transient, "closed").await;
}

#[tokio::test]
async fn what_stands_before_the_handshake_counts_for_nothing() {
    let injecting = |answer: &'static [u8]| async move {
        let mut settings = answering([answer, &good_session()].concat()).await;
        settings.tls.mode = TlsMode::Require;
        settings
    };
    check(&injecting(b"S").await, ErrorKind::Config, "handshake").await;
    check(&injecting(b"N").await, ErrorKind::Config, "no TLS").await;
    check(&injecting(b"E").await, ErrorKind::Transient, "did not answer").await;
}

#[tokio::test]
async fn the_password_is_not_given_to_whoever_asks() {
    check(&answering(authentication(3, b"")).await, ErrorKind::Config, "clear text").await;
    check(&answering(authentication(5, b"salt")).await, ErrorKind::Config, "MD5").await;
    check(&answering(authentication(9, b"")).await, ErrorKind::Config, "does not speak").await;
    check(&answering(authentication(10, b"OTHER\0\0")).await, ErrorKind::Config, "offers no SCRAM").await;
    check(&answering(authentication(12, b"v=")).await, ErrorKind::Config, "does not speak").await;
}

/// A server that answers the first message of SCRAM with `challenge`, whose nonce begins with ours.
async fn challenging(challenge: &'static str, then: Vec<u8>) -> Postgres {
    server(move |mut socket| {
        let then = then.clone();
        async move {
            let _ = startup(&mut socket).await;
            let _ = socket.write_all(&authentication(10, b"SCRAM-SHA-256\0\0")).await;
            let Ok(first) = receive(&mut socket).await else { return };
            let first = String::from_utf8_lossy(&first).into_owned();
            // A nonce may hold anything but a comma, `r=` too.
            let nonce = first.split_once("r=").unwrap().1;
            let challenge = challenge.replace("NONCE", nonce);
            let _ = socket.write_all(&authentication(11, challenge.as_bytes())).await;
            if receive(&mut socket).await.is_ok() {
                let _ = socket.write_all(&then).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn scram_convinces_only_with_proof() {
    let good = "r=NONCEx,s=c2FsdA==,i=4096";
    let consent = good_session();
    check(&challenging("r=NONCEx,s=c2FsdA==,i=100000000", Vec::new()).await, ErrorKind::Config, "iteration").await;
    check(&challenging("r=other,s=c2FsdA==,i=4096", Vec::new()).await, ErrorKind::Config, "nonce").await;
    check(&challenging("r=", Vec::new()).await, ErrorKind::Config, "challenge").await;
    check(&challenging(good, consent).await, ErrorKind::Config, "rules of authentication").await;
    check(&challenging(good, authentication(12, b"v=AAAA")).await, ErrorKind::Config, "prove").await;
    check(&challenging(good, authentication(12, b"e=other-error")).await, ErrorKind::Config, "prove").await;
}

#[tokio::test]
async fn a_session_cut_at_any_byte_is_an_error() {
    let session = good_session();
    for len in 0..session.len() {
        let settings = answering(session[..len].to_vec()).await;
        let error = ReplicationConnection::connect(&settings).await.map(drop).expect_err("it was cut");
        assert_eq!(error.kind(), ErrorKind::Transient, "cut at {len}: {error}");
    }
    ReplicationConnection::connect(&answering(session).await).await.unwrap();
}

#[tokio::test]
async fn a_pooler_that_drops_or_refuses_settings_is_named() {
    let mut dropped = good_session();
    let at = dropped.windows(8).position(|window| window == b"iso_8601").unwrap();
    dropped[at..at + 8].copy_from_slice(b"postgres");
    check_replication(dropped, "IntervalStyle").await;
    let refused = message(b'E', b"SFATAL\0C08P01\0Munsupported startup parameter: DateStyle\0\0");
    check(&answering(refused).await, ErrorKind::Config, "pooler").await;
    let old = message(b'E', b"SFATAL\0C42704\0Munrecognized configuration parameter\0\0");
    check(&answering(old).await, ErrorKind::Config, "PostgreSQL 14").await;
}

async fn check_replication(session: Vec<u8>, part: &str) {
    let error = ReplicationConnection::connect(&answering(session).await).await.map(drop).expect_err("it was taken");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

/// What comes out of a stream in which the server sends `bytes` and closes.
async fn streamed(bytes: Vec<u8>) -> (Vec<Frame>, Error) {
    let answer = [good_session(), message(b'W', &[0, 0, 0]), bytes].concat();
    let settings = answering(answer).await;
    let connection = ReplicationConnection::connect(&settings).await.unwrap();
    let mut stream = connection.start("START_REPLICATION").await.unwrap();
    let mut frames = Vec::new();
    loop {
        match stream.next(Duration::from_secs(5)).await {
            Ok(more) => frames.extend(more),
            Err(error) => return (frames, error),
        }
    }
}

#[tokio::test]
async fn frames_before_a_failure_come_before_it() {
    let data = message(b'd', &[&[b'w'][..], &[0; 24], b"payload"].concat());
    for (then, kind, part) in [
        (Vec::new(), ErrorKind::Transient, "closed"),
        (message(b'c', b""), ErrorKind::Transient, "ended"),
        (message(b'd', b"x"), ErrorKind::Transient, "unknown message"),
        (message(b'd', b""), ErrorKind::Transient, "ends early"),
        (vec![b'd', 0x7F, 0xFF, 0xFF, 0xFF], ErrorKind::Config, "message_bytes_max"),
        (message(b'S', b"TimeZone\0Europe/Paris\0"), ErrorKind::Bug, "TimeZone"),
        (message(b'E', b"SFATAL\0C57P01\0Mbye\0\0"), ErrorKind::Transient, "57P01"),
        (message(b'E', b"SERROR\0C22021\0Mcanary\0\0"), ErrorKind::Config, "22021"),
    ] {
        let (frames, error) = streamed([data.clone(), then].concat()).await;
        assert!(matches!(&*frames, [Frame::Data { message, .. }] if message == "payload"), "{frames:?}");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part) && !error.to_string().contains("canary"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_stream_makes_it_panic_or_hang(kinds: Vec<(prop::sample::Index, Vec<u8>)>, tail: Vec<u8>) {
        let mut bytes = Vec::new();
        for (kind, body) in &kinds {
            bytes.extend(message(b"dddNSEAcCZx"[kind.index(11)], body));
        }
        bytes.extend(tail);
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(streamed(bytes));
    }
}
