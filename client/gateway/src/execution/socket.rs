//! `WS /ws/execution/{id}`: what happened so far, then what happens.
//!
//! | from | message |
//! |---|---|
//! | server | `{"type":"state","state"}`, `{"type":"route","hops":[{"peer","blocks"}]}`, `{"type":"token","text","index"}` |
//! | server, last | `{"type":"done","result","usage"}` or `{"type":"error","error"}`, then it closes |
//! | client | `{"type":"cancel"}` |
//!
//! A listener whose key is removed meanwhile is told so in its last message; the execution goes on.
//! Everybody reads the same log at their own pace: a slow reader holds up neither the execution nor other readers.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::Executions;
use super::record::Execution;
use crate::api_error::ApiError;
use crate::websocket::{Farewell, Heard, Socket, accept};
use crate::who::Who;

pub(super) async fn listen(
    State(executions): State<Executions>,
    caller: Who,
    Path(id): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let execution = executions.find(&caller, &id)?;
    let place = Arc::clone(&executions.0.sockets).try_acquire_owned().ok();
    let bounds = (executions.socket_patience(), MAX_MESSAGE_BYTES);
    accept(upgrade, bounds, place, move |socket| {
        tell(socket, caller, execution)
    })
}

async fn tell(mut socket: Socket, caller: Who, execution: Arc<Execution>) {
    let mut changed = execution.subscribe();
    let mut read = 0;
    loop {
        // Before the look, so that nothing is missed between the two.
        changed.mark_unchanged();
        let (messages, is_over) = execution.messages(read, MESSAGES_AT_ONCE);
        let is_all = messages.len() < MESSAGES_AT_ONCE;
        for message in messages {
            if socket.say(&message).await.is_err() {
                return;
            }
            read += 1;
        }
        if is_over {
            return socket.close(Farewell::Done).await;
        }
        tokio::select! {
            biased;
            error = caller.revoked() => {
                let message = json!({ "type": "error", "error": error.body()["error"] });
                if socket.say(&message).await.is_ok() {
                    socket.close(Farewell::Done).await;
                }
                return;
            }
            // Before the news, of which there may always be some: a cancellation and the end are heard all the same.
            heard = socket.hear() => match heard {
                Heard::Text(text) if is_cancel(&text) => _ = execution.cancel(),
                Heard::Text(_) => {
                    let refusal = Farewell::Refused("the only message is {\"type\":\"cancel\"}");
                    return socket.close(refusal).await;
                }
                Heard::Gone => return,
            },
            () = std::future::ready(()), if !is_all => {}
            _ = changed.changed() => {}
        }
    }
}

fn is_cancel(text: &str) -> bool {
    serde_json::from_str(text).is_ok_and(|message: Value| message["type"] == "cancel")
}

/// Largest message of a client: a cancellation is 17 bytes.
const MAX_MESSAGE_BYTES: usize = 1024;
/// Messages taken out of the log at once, which bounds what a reader holds.
const MESSAGES_AT_ONCE: usize = 64;
