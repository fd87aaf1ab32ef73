//! `WS /api/v2/generate`: one inference session, asked again and again.
//!
//! | from | message |
//! |---|---|
//! | client, first | `{"type":"open_inference_session","model","max_length"}` |
//! | client, then | `{"type":"generate","inputs"?,"max_new_tokens"/"max_length",…}` |
//! | server | `{"ok":true}`, then `{"ok":true,"outputs","stop","token_count"}` up to `"stop":true` for each question |
//! | server, last | `{"ok":false,"error","traceback"}`, then it closes |
//!
//! Questions may be sent before the answer to the last one has ended. A question counts as a request, and has a seat and
//! the time of one; the session is held in between, for as long as the socket is open, asks something now and then, and
//! has a key that is known.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use futures::FutureExt;
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::PetalsChat;
use super::conversation::Conversation;
use super::failure;
use super::request::{self, GenerateRequest, OpenRequest};
use crate::api_error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::running::{Listed, RunningAnswer};
use crate::terms::Terms;
use crate::websocket::{Farewell, Gone, Heard, Socket, accept};
use crate::who::Who;

/// Why a conversation ends.
#[derive(Debug)]
pub(super) enum End {
    /// Its peer has gone.
    Gone,
    Failed(ApiError),
}

/// The line to a peer.
#[derive(Debug)]
pub(super) struct Line {
    socket: Socket,
    caller: Who,
    /// Messages that came while something was being done.
    waiting: VecDeque<String>,
    gateway: Gateway,
    idle: Duration,
    /// What ends the conversation, once there is one.
    answer: Option<Arc<RunningAnswer>>,
}

pub(super) async fn converse(
    State(chat): State<PetalsChat>,
    caller: Who,
    terms: Terms,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, failure::Failure> {
    let own_place = chat.0.places.take(&caller)?;
    let place = Arc::clone(&chat.0.sockets).try_acquire_owned().ok();
    let bounds = (chat.socket_patience(), MAX_MESSAGE_BYTES);
    let accepted = accept(upgrade, bounds, place, move |socket| async move {
        let _own_place = own_place;
        let mut line = Line {
            socket,
            caller,
            waiting: VecDeque::new(),
            gateway: chat.0.gateway.clone(),
            idle: chat.0.config.idle,
            answer: None,
        };
        match talk(&mut line, &terms).await {
            End::Gone => {}
            End::Failed(error) => line.fail(&error).await,
        }
    });
    Ok(accepted?)
}

/// Opens a session and answers questions until something ends that.
async fn talk(line: &mut Line, terms: &Terms) -> End {
    let opened = match open(line, terms).await {
        Ok(opened) => opened,
        Err(end) => return end,
    };
    let (mut conversation, _listed) = opened;
    let end = loop {
        if let Err(end) = next(line, &mut conversation, terms).await {
            break end;
        }
    };
    // Whoever is told may be slow; the servers need not wait for that.
    tokio::spawn(conversation.close());
    end
}

async fn open(line: &mut Line, terms: &Terms) -> Result<(Conversation, Listed), End> {
    let request = OpenRequest::read(&line.request().await?)?;
    let model = line.gateway.model(&request.model)?;
    line.caller.may_use(model.name())?;
    let most = model.max_model_len();
    if request.max_length > most {
        let text = format!(
            "max_length may be {most} at most, not {}",
            request.max_length
        );
        return Err(ApiError::invalid("max_length", text).into());
    }
    let id = format!("petals-{}", Uuid::new_v4().simple());
    let listed = Listed::new(&line.gateway, (id, line.caller.name(), model.name()), 0, 1)?;
    line.answer = Some(Arc::clone(&listed.answer));
    let gateway = line.gateway.clone();
    let answer = Arc::clone(&listed.answer);
    let opening = async {
        let _seat = terms.clone().seat().await?;
        Conversation::open(&gateway, model, &answer, request.max_length).await
    };
    let conversation = line.meanwhile(opening).await??;
    let said = line.say(&json!({ "ok": true })).await;
    match said {
        Ok(()) => Ok((conversation, listed)),
        Err(end) => {
            conversation.close().await;
            Err(end)
        }
    }
}

async fn next(line: &mut Line, conversation: &mut Conversation, terms: &Terms) -> Result<(), End> {
    let request = GenerateRequest::of_message(&line.request().await?)?;
    terms.count()?;
    let time = terms.time();
    let answered = timeout(time, async {
        let _seat = line.meanwhile(terms.clone().seat()).await??;
        conversation.generate(line, &request).await
    });
    answered
        .await
        .unwrap_or_else(|_| Err(crate::terms::too_late().into()))
}

impl Line {
    /// The next request, which may have come already. Without its key nobody has one.
    async fn request(&mut self) -> Result<Map<String, Value>, End> {
        if let Some(error) = self.caller.revoked().now_or_never() {
            return Err(error.into());
        }
        let text = match self.waiting.pop_front() {
            Some(text) => text,
            None => {
                let idle = self.idle;
                let heard = tokio::select! {
                    biased;
                    error = ended(&self.gateway, self.answer.as_deref()) => return Err(error.into()),
                    error = self.caller.revoked() => return Err(error.into()),
                    heard = timeout(idle, self.socket.hear()) => heard,
                };
                match heard {
                    Ok(Heard::Text(text)) => text,
                    Ok(Heard::Gone) => return Err(End::Gone),
                    Err(_) => {
                        let text = format!("nothing was asked for {} s", idle.as_secs_f64());
                        return Err(ApiError::new(ErrorCode::Timeout, text).into());
                    }
                }
            }
        };
        Ok(request::object(&text)?)
    }

    /// Does something, unless the peer goes or the conversation is ended meanwhile. Requests that come are kept.
    pub(super) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = pin!(work);
        loop {
            let heard = tokio::select! {
                biased;
                error = ended(&self.gateway, self.answer.as_deref()) => return Err(error.into()),
                output = &mut work => return Ok(output),
                heard = self.socket.hear() => heard,
            };
            match heard {
                Heard::Text(text) if self.waiting.len() < MAX_WAITING => {
                    self.waiting.push_back(text);
                }
                Heard::Text(_) => {
                    let text =
                        format!("{MAX_WAITING} requests wait already; read the answers first");
                    return Err(ApiError::new(ErrorCode::QueueFull, text).into());
                }
                Heard::Gone => return Err(End::Gone),
            }
        }
    }

    pub(super) async fn say(&mut self, message: &Value) -> Result<(), End> {
        Ok(self.socket.say(message).await?)
    }

    async fn fail(mut self, error: &ApiError) {
        tracing::info!(code = error.code().name(), "a conversation failed");
        if self.socket.say(&failure::message(error)).await.is_ok() {
            self.socket.close(Farewell::Done).await;
        }
    }
}

/// Why the conversation is ended from outside, once it is.
async fn ended(gateway: &Gateway, answer: Option<&RunningAnswer>) -> ApiError {
    let Some(answer) = answer else {
        gateway.stopping().cancelled().await;
        return ApiError::new(ErrorCode::Cancelled, "the gateway is shutting down");
    };
    answer.cancelled.cancelled().await;
    answer.why()
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Largest message: a prompt of some 60,000 tokens. With those that wait a socket takes five times that.
const MAX_MESSAGE_BYTES: usize = 256 << 10;
/// Requests of one socket that wait for their turn: Petals' page sends two at once.
const MAX_WAITING: usize = 4;
