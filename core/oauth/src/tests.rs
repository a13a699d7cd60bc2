//! Against a token endpoint that answers as it is told.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rdkafka::client::{Client, ClientContext, OAuthToken};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::producer::ThreadedProducer;
use secrecy::SecretString;
use walbrook_config::{KafkaClient, KafkaSasl, SaslMechanism, TokenEndpoint};
use walbrook_model::{Error, ErrorKind};

use crate::Tokens;

const SECRET: &str = "canary secret/:\u{e9}";
const TOKEN: &str = "canary-token";

/// Answers each request with the next of `answers`, and the last again and again; gives its address and the requests.
fn endpoint(answers: Vec<String>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    thread::spawn(move || {
        for turn in 0.. {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut request = String::new();
            let mut buffer = [0; 4096];
            while !is_whole(&request) {
                let Ok(read @ 1..) = stream.read(&mut buffer) else { break };
                request.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
            let _ = stream.write_all(answers[turn.min(answers.len() - 1)].as_bytes());
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (url, requests)
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.to_ascii_lowercase().split_once("content-length: ").map(|(_, rest)| rest.to_owned());
    let length = length.and_then(|rest| rest.lines().next().and_then(|length| length.parse().ok()));
    body.len() >= length.unwrap_or(0)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn token(seconds: u32) -> String {
    answer("200 OK", &format!("{{\"access_token\":\"{TOKEN}\",\"token_type\":\"Bearer\",\"expires_in\":{seconds}}}"))
}

fn settings(url: &str) -> KafkaClient {
    let tokens = TokenEndpoint { url: url.to_owned(), scope: Some("kafka read".to_owned()) };
    KafkaClient {
        brokers: vec!["127.0.0.1:1".to_owned()],
        tls: None,
        sasl: Some(KafkaSasl {
            mechanism: SaslMechanism::OauthBearer,
            username: "shop".to_owned(),
            password: SecretString::from(SECRET),
            tokens: Some(tokens),
        }),
        librdkafka: [("reconnect.backoff.max.ms".to_owned(), "10000".to_owned())].into(),
    }
}

fn refused(answers: Vec<String>) -> Error {
    let error = Tokens::of(&settings(&endpoint(answers).0)).prove().unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("canary") && shown.contains("127.0.0.1:"), "{shown}");
    error
}

#[test]
fn a_token_is_asked_for_as_the_grant_wants_it() {
    let (url, requests) = endpoint(vec![token(60)]);
    let token = Tokens::of(&settings(&url)).answer().unwrap();
    assert_eq!((token.token.as_str(), token.principal_name.as_str()), (TOKEN, "shop"));
    let request = requests.recv().unwrap();
    assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials&scope=kafka+read"), "{request}");
    // shop:canary+secret%2F%3A%C3%A9
    assert!(request.contains("authorization: Basic c2hvcDpjYW5hcnkrc2VjcmV0JTJGJTNBJUMzJUE5\r\n"), "{request}");
}

#[test]
fn a_token_serves_all_clients_until_half_of_its_life() {
    let (url, requests) = endpoint(vec![token(2), token(3600)]);
    let first = Tokens::of(&settings(&url)).answer().unwrap();
    // Another of the same login.
    assert_eq!(Tokens::of(&settings(&url)).answer().unwrap().lifetime_ms, first.lifetime_ms);
    assert_eq!(requests.try_iter().count(), 1);
    while Tokens::of(&settings(&url)).answer().unwrap().lifetime_ms == first.lifetime_ms {
        thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut other = settings(&url);
    other.sasl.as_mut().unwrap().password = SecretString::from("another");
    Tokens::of(&other).prove().unwrap();
    assert_eq!(requests.iter().take(2).count(), 2);
}

#[test]
fn a_refusal_is_for_the_operator_and_a_fault_passes() {
    let unknown = r#"{"error":"invalid_client","error_description":"canary"}"#;
    let error = refused(vec![answer("401 Unauthorized", unknown)]);
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().ends_with("refuses the client (status 401, invalid_client)"), "{error}");
    assert!(error.remedy_text().unwrap().contains("sasl.username"));
    assert_eq!(refused(vec![answer("500 Oops", "canary")]).kind(), ErrorKind::Transient);
    assert_eq!(refused(vec![answer("302 Found\r\nLocation: http://127.0.0.1:1/", "")]).kind(), ErrorKind::Config);
    assert_eq!(refused(vec![answer("200 OK", "<html>canary")]).kind(), ErrorKind::Config);
    assert_eq!(refused(vec![answer("200 OK", &"canary".repeat(100_000))]).kind(), ErrorKind::Config);
    assert_eq!(refused(vec!["canary".to_owned()]).kind(), ErrorKind::Transient);
    assert_eq!(refused(vec![String::new()]).kind(), ErrorKind::Transient);
    // After a fault it is asked again.
    let (url, _requests) = endpoint(vec![answer("503 Busy", ""), token(60)]);
    let tokens = Tokens::of(&settings(&url));
    assert!(tokens.prove().is_err() && tokens.prove().is_ok());
}

#[test]
fn one_that_hangs_or_is_not_there_is_given_up() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    let waiting: Vec<_> =
        (0..3).map(|_| Tokens::of(&settings(&url))).map(|it| thread::spawn(move || it.prove())).collect();
    let begun = std::time::Instant::now();
    for thread in waiting {
        let error = thread.join().unwrap().unwrap_err();
        assert!(error.kind() == ErrorKind::Transient && error.message().contains("no answer in time"), "{error}");
    }
    // Together, not one after the other.
    assert!(begun.elapsed().as_secs() < 19, "{:?}", begun.elapsed());
    drop(hanging);
    let error = Tokens::of(&settings(&url)).prove().unwrap_err();
    assert!(error.kind() == ErrorKind::Transient && error.message().contains("refused"), "{error}");
}

/// A fetch blocks; on a thread of a runtime it must not panic.
#[tokio::test]
async fn a_runtime_is_no_hindrance() {
    let (url, _requests) = endpoint(vec![token(60)]);
    Tokens::of(&settings(&url)).prove().unwrap();
}

struct Context(Tokens);

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.0.answer()
    }
}

impl ConsumerContext for Context {}

impl rdkafka::producer::ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}

#[test]
fn clients_come_to_their_tokens() {
    let config = |url: &str| {
        let mut config = ClientConfig::new();
        settings(url).apply(|key, value| {
            config.set(key, value);
        });
        config
    };
    // Whoever polls answers: here the producer's own thread.
    let (url, requests) = endpoint(vec![token(60)]);
    let producer: ThreadedProducer<Context> =
        config(&url).create_with_context(Context(Tokens::of(&settings(&url)))).unwrap();
    requests.recv().unwrap();
    drop(producer);
    // Nobody polls.
    let (url, requests) = endpoint(vec![token(60)]);
    let consumer: BaseConsumer<Context> =
        config(&url).create_with_context(Context(Tokens::of(&settings(&url)))).unwrap();
    assert_eq!(requests.try_iter().count(), 0);
    let client: &Client<Context> = consumer.client();
    Tokens::of(&settings(&url)).log_in(client).unwrap();
    assert_eq!(requests.iter().take(1).count(), 1);
    // Without a login there is nothing to do.
    Tokens::default().log_in(client).unwrap();
}
