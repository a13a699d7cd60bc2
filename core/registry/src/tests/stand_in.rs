//! A registry that answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

/// One answer.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// A status with a body.
    Say(u16, String),
    /// A redirect.
    Redirect(String),
    /// No answer, ever.
    Hang,
}

impl Act {
    pub(super) fn say(status: u16, body: &str) -> Self {
        Self::Say(status, body.to_owned())
    }

    /// An error as registries write it.
    pub(super) fn error(status: u16, code: u32, message: &str) -> Self {
        Self::Say(status, serde_json::json!({"error_code": code, "message": message}).to_string())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Such as `POST /subjects/a/versions`, still escaped.
    pub(super) line: String,
    pub(super) authorization: Option<String>,
    pub(super) body: String,
}

#[derive(Default)]
struct Script {
    acts: VecDeque<Act>,
    seen: Vec<Seen>,
}

/// Answers requests in the order of its acts; the last act is repeated.
pub(super) struct StandIn {
    pub(super) url: String,
    script: Arc<Mutex<Script>>,
}

impl StandIn {
    pub(super) async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let script = Arc::new(Mutex::new(Script { acts: acts.into_iter().collect(), seen: Vec::new() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, script }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, headers: HeaderMap, request: Request) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let act = {
        let mut script = script.lock().unwrap();
        script.seen.push(Seen { line, authorization, body: String::from_utf8(body.to_vec()).unwrap() });
        if script.acts.len() > 1 { script.acts.pop_front() } else { script.acts.front().cloned() }
    };
    match act {
        Some(Act::Say(status, body)) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Some(Act::Redirect(to)) => (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response(),
        Some(Act::Hang) | None => std::future::pending().await,
    }
}
