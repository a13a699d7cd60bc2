//! Faults that pass: the call is repeated, for a bounded time; nothing of them is remembered.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use walbrook_model::ErrorKind;

use super::stand_in::{Act, StandIn};
use super::{SCHEMA, client};
use crate::Status;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(700);

fn id(id: u32) -> Act {
    Act::Say(200, format!("{{\"id\":{id}}}"))
}

#[tokio::test]
async fn a_fault_that_passes_is_not_seen_by_the_caller() {
    let faults = [
        Act::error(503, 50003, "forwarding failed"),
        Act::say(503, "<html>busy</html>"),
        Act::error(500, 50001, "Error in the backend data store"),
        Act::say(500, ""),
        Act::say(429, "slow down"),
        Act::say(408, ""),
        Act::say(502, ""),
        Act::say(504, ""),
        Act::say(200, "<html>log in here</html>"),
        Act::say(200, "{}"),
        Act::say(200, r#"{"id":"seven"}"#),
    ];
    for fault in faults {
        let server = StandIn::start([fault.clone(), id(7)]).await;
        let registry = client(&server.url, LONG);
        assert_eq!(registry.register("shop.public.orders-value", SCHEMA).await.unwrap(), 7, "{fault:?}");
        assert_eq!(server.lines(), ["POST /subjects/shop.public.orders-value/versions"; 2], "{fault:?}");
        let expected = Status { accepted: 1, repeats: 1, ..Status::default() };
        assert_eq!(registry.status(), expected, "{fault:?}");
    }
}

#[tokio::test]
async fn a_fault_that_stays_is_transient_and_forgotten() {
    let faults = [
        (Act::error(503, 50003, "forwarding failed"), "status 503: forwarding failed"),
        (Act::say(429, "slow down"), "status 429"),
        (Act::Hang, "no answer in time"),
        (Act::say(200, "<html>log in here</html>"), "its answer is not one of a schema registry"),
    ];
    for (fault, cause) in faults {
        let server = StandIn::start([fault]).await;
        let registry = client(&server.url, SHORT);
        for _ in 0..2 {
            let before = server.seen().len();
            let start = Instant::now();
            let error = registry.register("orders-value", SCHEMA).await.unwrap_err();
            assert!(start.elapsed() < SHORT + Duration::from_secs(10), "{:?}", start.elapsed());
            assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
            assert!(error.to_string().contains(cause) && error.to_string().contains(&server.url), "{error}");
            assert!(server.seen().len() > before, "it must be asked anew");
        }
        assert_eq!(registry.status().unavailable, 2);
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_transient() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let registry = client(&format!("http://127.0.0.1:{port}"), SHORT);
    for error in [
        registry.register("orders-value", SCHEMA).await.unwrap_err(),
        registry.schema(1).await.unwrap_err(),
        registry.latest("orders-value").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
    }
    assert!(registry.status().repeats >= 3, "{:?}", registry.status());
}

#[tokio::test]
async fn a_request_without_an_answer_holds_up_no_other() {
    let server = StandIn::start([Act::Hang, id(3)]).await;
    // The first request hangs until its own limit is over, which is that of the call; a second call succeeds.
    let registry = client(&server.url, Duration::from_secs(3));
    assert_eq!(registry.register("orders-value", SCHEMA).await.unwrap_err().kind(), ErrorKind::Transient);
    assert_eq!(registry.register("orders-value", SCHEMA).await.unwrap(), 3);
}

#[tokio::test]
async fn what_is_known_is_not_asked_again() {
    let server = StandIn::start([id(7), Act::say(200, r#"{"schema":"\"int\""}"#), Act::Hang]).await;
    let registry = client(&server.url, LONG);
    for _ in 0..3 {
        assert_eq!(registry.clone().register("orders-value", SCHEMA).await.unwrap(), 7);
    }
    for _ in 0..3 {
        assert_eq!(&*registry.schema(7).await.unwrap(), "\"int\"");
    }
    assert_eq!(server.seen().len(), 2);
    assert_eq!(registry.status(), Status { cached: 4, accepted: 2, ..Status::default() });
    let body: serde_json::Value = serde_json::from_str(&server.seen()[0].body).unwrap();
    assert_eq!(body, serde_json::json!({"schema": SCHEMA, "schemaType": "AVRO"}));
}
