//! Which question goes to which method of the daemon.

use std::sync::Arc;

use anyhow::Result;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::NodeName;
use serde::{Deserialize, Serialize};

use super::{Apply, Delete, Done, One, Pair};
use crate::daemon::Daemon;

/// The daemon's API.
pub fn router(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .route("/v1/progress", get(progress))
        .route("/v1/status", get(status))
        .route("/v1/entrance", post(entrance))
        .route("/v1/apply", post(apply))
        .route("/v1/delete", post(delete))
        .route("/v1/cut", post(cut))
        .route("/v1/heal", post(heal))
        .route("/v1/kill", post(kill))
        .route("/v1/start", post(start))
        .with_state(daemon)
}

type Lab = State<Arc<Daemon>>;

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: usize,
}

#[derive(Deserialize)]
struct From {
    from: Option<String>,
}

async fn progress(State(daemon): Lab, Query(After { after }): Query<After>) -> Response {
    Json(daemon.progress(after)).into_response()
}

async fn status(State(daemon): Lab, Query(From { from }): Query<From>) -> Response {
    let from = match from.map(NodeName::try_from).transpose() {
        Ok(from) => from,
        Err(e) => return error(&e.to_string()),
    };
    Json(daemon.status(from.as_ref()).await).into_response()
}

async fn entrance(State(daemon): Lab, Json(One { name }): Json<One>) -> Response {
    answer(daemon.entrance(&name))
}

async fn apply(State(daemon): Lab, Json(question): Json<Apply>) -> Response {
    done(daemon.apply(question).await)
}

async fn delete(State(daemon): Lab, Json(question): Json<Delete>) -> Response {
    done(daemon.delete(question).await)
}

async fn cut(State(daemon): Lab, Json(Pair { a, b }): Json<Pair>) -> Response {
    done(daemon.cut(&a, &b).await)
}

async fn heal(State(daemon): Lab, Json(Pair { a, b }): Json<Pair>) -> Response {
    done(daemon.heal(&a, &b).await)
}

async fn kill(State(daemon): Lab, Json(One { name }): Json<One>) -> Response {
    done(daemon.kill(&name).await)
}

async fn start(State(daemon): Lab, Json(One { name }): Json<One>) -> Response {
    done(daemon.start(&name).await)
}

fn done(result: Result<Vec<String>>) -> Response {
    answer(result.map(|changes| Done { changes }))
}

fn answer<T: Serialize>(result: Result<T>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(e) => error(&format!("{e:#}")),
    }
}

/// Whatever goes wrong here is for a person to read.
fn error(text: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(serde_json::json!({ "error": text }))).into_response()
}
