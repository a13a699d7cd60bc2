//! Answers that will be the same the next time: an error at once, that says what to do.

use std::fmt::Write;

use secrecy::SecretString;
use walbrook_config::Registry as Settings;
use walbrook_model::{Error, ErrorKind};

use super::stand_in::{Act, StandIn};
use super::{SCHEMA, client, settings};
use crate::Registry;

const LONG: std::time::Duration = std::time::Duration::from_secs(20);

async fn register(acts: impl IntoIterator<Item = Act>) -> (Error, StandIn) {
    let server = StandIn::start(acts).await;
    let error = client(&server.url, LONG).register("orders-value", SCHEMA).await.unwrap_err();
    (error, server)
}

fn conflict() -> Act {
    Act::error(409, 409, "no")
}

#[tokio::test]
async fn a_conflict_of_two_that_register_at_once_passes() {
    let server = StandIn::start([conflict(), Act::say(200, "{\"id\":4}")]).await;
    assert_eq!(client(&server.url, LONG).register("orders-value", SCHEMA).await.unwrap(), 4);
}

#[tokio::test]
async fn an_incompatible_schema_names_the_differing_field() {
    let refusal = Act::error(409, 409, "Schema being registered is incompatible with an earlier schema");
    let before = SCHEMA.replace("int", "string");
    let latest = Act::Say(200, serde_json::json!({"id": 1, "version": 1, "schema": before}).to_string());
    let (error, server) = register([refusal.clone(), refusal, latest]).await;
    assert_eq!((error.kind(), error.object()), (ErrorKind::Data, Some("subject orders-value")));
    assert_eq!(error.message(), "the schema is not compatible with the one before: id: string became int");
    assert!(error.to_string().contains("is incompatible with an earlier schema"), "{error}");
    assert!(error.remedy_text().unwrap().contains("/config/orders-value"), "{error}");
    let post = "POST /subjects/orders-value/versions";
    assert_eq!(server.lines(), [post, post, "GET /subjects/orders-value/versions/latest"]);
}

#[tokio::test]
async fn an_incompatible_schema_is_said_without_the_one_before() {
    let (error, _server) = register([conflict(), conflict(), Act::error(404, 40401, "gone")]).await;
    assert_eq!(error.kind(), ErrorKind::Data);
    assert_eq!(error.message(), "the schema is not compatible with the one before");
    let (error, _server) = register([Act::say(409, "<html>")]).await;
    assert_eq!(error.kind(), ErrorKind::Data);
}

#[tokio::test]
async fn a_refusal_is_not_remembered() {
    let acts = [conflict(), conflict(), Act::error(404, 40401, "gone"), Act::say(200, "{\"id\":4}")];
    let server = StandIn::start(acts).await;
    let registry = client(&server.url, LONG);
    registry.register("orders-value", SCHEMA).await.unwrap_err();
    assert_eq!(registry.register("orders-value", SCHEMA).await.unwrap(), 4);
    assert_eq!((registry.status().refused, registry.status().accepted), (3, 1));
}

#[tokio::test]
async fn each_refusal_has_its_kind() {
    let check = async |act: Act, kind: ErrorKind, text: &str| {
        let (error, server) = register([act.clone()]).await;
        assert_eq!(error.kind(), kind, "{act:?}: {error}");
        assert!(error.to_string().contains(text), "{act:?}: {error}");
        assert!(error.remedy_text().is_some(), "{act:?}: {error}");
        assert_eq!(server.seen().len(), 1, "{act:?} must not be repeated");
    };
    check(Act::error(422, 42201, "Invalid schema"), ErrorKind::Data, "Invalid schema").await;
    check(Act::say(413, ""), ErrorKind::Data, "status 413").await;
    check(Act::error(422, 42205, "Subject is read-only"), ErrorKind::Config, "READWRITE").await;
    check(Act::error(401, 40101, "Unauthorized"), ErrorKind::Config, "registry.username").await;
    check(Act::say(401, "<html>"), ErrorKind::Config, "registry.username").await;
    check(Act::error(403, 40301, "Forbidden"), ErrorKind::Config, "grant").await;
    check(Act::say(404, "not here"), ErrorKind::Config, "no schema registry at this address").await;
    check(Act::say(400, ""), ErrorKind::Config, "status 400").await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = StandIn::start([Act::say(200, "{\"id\":1}")]).await;
    let server = StandIn::start([Act::Redirect(other.url.clone())]).await;
    let error = with_login(&server.url).register("orders-value", SCHEMA).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(other.seen().is_empty(), "the login must not reach another host");
}

#[tokio::test]
async fn a_schema_that_cannot_be_read() {
    let check = async |act: Act, kind: ErrorKind, text: &str| {
        let server = StandIn::start([act]).await;
        let error = client(&server.url, LONG).schema(12).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text) && error.to_string().contains("schema 12"), "{error}");
    };
    check(Act::error(404, 40403, "Schema 12 not found"), ErrorKind::Data, "has no such schema").await;
    check(Act::error(404, 404, "HTTP 404 Not Found"), ErrorKind::Config, "at this address").await;
    let body = |value: serde_json::Value| Act::Say(200, value.to_string());
    let protobuf = serde_json::json!({"schemaType": "PROTOBUF", "schema": "x"});
    check(body(protobuf), ErrorKind::Data, "not Avro").await;
    let references = serde_json::json!({"schema": "x", "references": [{"name": "a", "subject": "b", "version": 1}]});
    check(body(references), ErrorKind::Data, "refers to other subjects").await;
    let large = serde_json::json!({"schema": "x".repeat((8 << 20) + 1)});
    check(body(large), ErrorKind::Data, "larger than 8 MiB").await;
}

#[tokio::test]
async fn a_subject_without_schemas_has_no_newest() {
    for code in [40401, 40402] {
        let server = StandIn::start([Act::error(404, code, "not found")]).await;
        assert!(client(&server.url, LONG).latest("orders-value").await.unwrap().is_none());
    }
    let server = StandIn::start([Act::say(404, "not here")]).await;
    assert_eq!(client(&server.url, LONG).latest("orders-value").await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_subject_is_escaped() {
    let server = StandIn::start([Act::say(200, "{\"id\":1}")]).await;
    let registry = client(&server.url, LONG);
    registry.register("a b/c?d#e%41\u{e9}-value", SCHEMA).await.unwrap();
    assert_eq!(server.lines(), ["POST /subjects/a%20b%2Fc%3Fd%23e%2541%C3%A9-value/versions"]);
    for bad in ["", ".", "..", &"s".repeat(1025)] {
        assert_eq!(registry.register(bad, SCHEMA).await.unwrap_err().kind(), ErrorKind::Config, "{bad}");
    }
}

fn with_login(url: &str) -> Registry {
    let login = Settings {
        username: Some("walbrook".to_owned()),
        password: Some(SecretString::from("hunter2")),
        timeout: std::time::Duration::from_secs(3),
        ..settings(url)
    };
    Registry::new(&login).unwrap()
}

#[tokio::test]
async fn the_login_is_sent_and_never_shown() {
    let acts = [
        Act::say(200, "{\"id\":1}"),
        Act::error(401, 40101, "no"),
        conflict(),
        conflict(),
        Act::error(404, 40401, "no"),
        Act::say(503, ""),
    ];
    let server = StandIn::start(acts).await;
    let registry = with_login(&server.url);
    assert_eq!(registry.register("a", SCHEMA).await.unwrap(), 1);
    let mut shown = format!("{registry:?}");
    for subject in ["b", "c", "d"] {
        let error = registry.register(subject, SCHEMA).await.unwrap_err();
        write!(shown, "{error} {error:?}").unwrap();
    }
    assert!(!shown.contains("hunter2") && !shown.contains("d2FsYnJvb2s6aHVudGVyMg"), "{shown}");
    for seen in server.seen() {
        assert_eq!(seen.authorization.as_deref(), Some("Basic d2FsYnJvb2s6aHVudGVyMg=="));
    }
}
