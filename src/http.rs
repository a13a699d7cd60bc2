//! `/metrics`, `/livez` and `/readyz`.
//!
//! Read-only, no secrets, no cell values. `/livez` fails only when a restart of the process would help; `/readyz` says
//! whether the pipeline moves, and if not, why.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extracted;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use walbrook_engine::health::{Health, State};
use walbrook_model::{Error, Result};

struct Shared {
    registry: Registry,
    health: Health,
}

/// Listens, and answers in a task of its own until the process ends. Returns the address in use.
///
/// # Errors
/// Of kind config, if the address cannot be bound.
pub(crate) async fn serve(listen: SocketAddr, registry: Registry, health: Health) -> Result<SocketAddr> {
    let bind = |error| {
        Error::config("cannot listen").on(format!("http.listen {listen}")).because(error).remedy("choose a free port")
    };
    let listener = TcpListener::bind(listen).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Arc::new(Shared { registry, health }));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP listener ended");
        }
    });
    Ok(address)
}

async fn metrics(Extracted(shared): Extracted<Arc<Shared>>) -> impl IntoResponse {
    let mut body = String::new();
    match encode(&mut body, &shared.registry) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            body,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(Extracted(shared): Extracted<Arc<Shared>>) -> impl IntoResponse {
    let (state, cause) = shared.health.get();
    let code = if state == State::Running { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = match cause {
        Some(cause) => format!("{}: {cause}\n", state.as_str()),
        None => format!("{}\n", state.as_str()),
    };
    (code, body)
}
