//! Against a real registry, from `WALBROOK_TEST_REGISTRY`. Without it the tests say that they were skipped.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use walbrook_model::ErrorKind;

use super::{SCHEMA, client};
use crate::Registry;

fn registry(test: &str) -> Option<(Registry, String)> {
    let Ok(url) = std::env::var("WALBROOK_TEST_REGISTRY") else {
        println!("{test}: skipped, WALBROOK_TEST_REGISTRY is not set");
        return None;
    };
    Some((client(&url, Duration::from_secs(30)), url))
}

/// A subject that no other test and no other run uses.
fn subject(test: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{test}.{}.{}-value", std::process::id(), now.as_nanos())
}

#[tokio::test]
async fn a_schema_is_registered_once_and_read_back() {
    let Some((registry, url)) = registry("a_schema_is_registered_once_and_read_back") else { return };
    let subject = subject("registered");
    assert!(registry.latest(&subject).await.unwrap().is_none());
    let id = registry.register(&subject, SCHEMA).await.unwrap();
    let other = client(&url, Duration::from_secs(30));
    assert_eq!(other.register(&subject, SCHEMA).await.unwrap(), id, "it is found, not made again");
    let parsed = |text: Arc<str>| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let expected: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(parsed(other.schema(id).await.unwrap()), expected);
    let (latest, text) = other.latest(&subject).await.unwrap().unwrap();
    assert_eq!((latest, parsed(text)), (id, expected));

    let newer = SCHEMA.replace("int", "long");
    let newer_id = registry.register(&subject, &newer).await.unwrap();
    assert_ne!(newer_id, id);
    assert_eq!(registry.latest(&subject).await.unwrap().unwrap().0, newer_id);
    assert_eq!(registry.register(&subject, SCHEMA).await.unwrap(), id, "an older version keeps its id");
}

#[tokio::test]
async fn an_incompatible_schema_is_refused_by_name() {
    let Some((registry, url)) = registry("an_incompatible_schema_is_refused_by_name") else { return };
    let subject = subject("refused");
    registry.register(&subject, SCHEMA).await.unwrap();
    compatibility(&url, &subject, "BACKWARD").await;
    let other = SCHEMA.replace("\"int\"}", "\"string\"},{\"name\":\"b\",\"type\":\"int\"}");
    let error = registry.register(&subject, &other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    let expected = "the schema is not compatible with the one before: id: int became string; b: new, without a default";
    assert_eq!(error.message(), expected);
    // The remedy that the error names.
    compatibility(&url, &subject, "NONE").await;
    registry.register(&subject, &other).await.unwrap();
}

#[tokio::test]
async fn what_no_registry_takes_is_refused() {
    let Some((registry, url)) = registry("what_no_registry_takes_is_refused") else { return };
    let error = registry.register(&subject("broken"), "{\"type\":\"rec").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    let error = registry.schema(u32::MAX >> 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    let elsewhere = client(&format!("{url}/elsewhere"), Duration::from_secs(30));
    let error = elsewhere.register("orders-value", SCHEMA).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn a_subject_may_hold_any_character() {
    let Some((registry, _)) = registry("a_subject_may_hold_any_character") else { return };
    let subject = subject("sch\u{e9}ma a+b%41");
    let id = registry.register(&subject, SCHEMA).await.unwrap();
    assert_eq!(registry.latest(&subject).await.unwrap().unwrap().0, id);
}

#[tokio::test]
async fn clients_that_register_at_once_get_one_id() {
    let Some((_, url)) = registry("clients_that_register_at_once_get_one_id") else { return };
    for round in 0..5 {
        let subject = subject(&format!("at_once_{round}"));
        let calls = (0..8).map(|_| {
            let (registry, subject) = (client(&url, Duration::from_secs(30)), subject.clone());
            tokio::spawn(async move { registry.register(&subject, SCHEMA).await.unwrap() })
        });
        let mut ids = std::collections::BTreeSet::new();
        for call in calls.collect::<Vec<_>>() {
            ids.insert(call.await.unwrap());
        }
        assert_eq!(ids.len(), 1, "{ids:?}");
    }
}

async fn compatibility(url: &str, subject: &str, level: &str) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap();
    let request = client.put(format!("{url}/config/{subject}")).json(&serde_json::json!({"compatibility": level}));
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}
