//! A session and what it is asked.

use std::sync::Arc;

use block_client::{
    FinishReason, GenerateConfig, RouteRequest, Session, SessionConfig, SessionError,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::request::GenerateRequest;
use super::socket::{End, Line};
use crate::api_error::ApiError;
use crate::endpoints::completions::aside;
use crate::gateway::Gateway;
use crate::metrics::{GenerationRecord, Outcome, record_prompt};
use crate::room;
use crate::running::{CountedSession, RunningAnswer, Stage};
use crate::served_model::ServedModel;

/// An open session.
#[derive(Debug)]
pub(super) struct Conversation {
    session: Session,
    gateway: Gateway,
    model: Arc<ServedModel>,
    answer: Arc<RunningAnswer>,
    counted: CountedSession,
    /// Tokens that go before the next inputs: the stop text that took the place of another.
    due: Vec<u32>,
}

/// How an answer ended.
enum Stopped {
    /// By a text, or by the model itself.
    Early {
        is_replaced: bool,
    },
    ByLength,
}

impl Conversation {
    /// Opens a session.
    ///
    /// # Errors
    /// There are no servers for it.
    pub(super) async fn open(
        gateway: &Gateway,
        model: Arc<ServedModel>,
        answer: &Arc<RunningAnswer>,
        max_length: usize,
    ) -> Result<Self, ApiError> {
        let counted = CountedSession::new(gateway, (answer, 0));
        let config = gateway.config();
        let blocks = 0..model.remote().view.num_blocks();
        room::route((gateway, &model), &RouteRequest::new(blocks, max_length)).await?;
        let session = SessionConfig {
            open_deadline: config.open_deadline,
            repair_deadline: config.repair_deadline,
            ..SessionConfig::new(max_length)
        };
        let session = room::open((gateway, &model), session, max_length).await?;
        let route = session.stats().route;
        answer.note(0, |progress| {
            progress.stage = Stage::Prefill;
            progress.route = route;
        });
        Ok(Self {
            session,
            gateway: gateway.clone(),
            answer: Arc::clone(answer),
            counted,
            due: Vec::new(),
            model,
        })
    }

    /// Answers one question. Only its tokens are sent to the servers, and the last one of the answer before.
    ///
    /// # Errors
    /// It cannot be answered, or the peer has gone.
    pub(super) async fn generate(
        &mut self,
        line: &mut Line,
        request: &GenerateRequest,
    ) -> Result<(), End> {
        let arrived = Instant::now();
        let prompt = self.prompt(request.inputs.clone()).await?;
        let held = self.session.ids().len() + prompt.len();
        let room = self.session.max_length();
        let part = request.tokens(held, room)?;
        // With stop texts an answer is of many parts.
        let all = match request.stop_sequence {
            Some(_) => part.max((room - held).min(self.model.max_tokens_cap().unwrap_or(room))),
            None => part,
        };
        let all = self.model.max_tokens(("inputs", held), Some(all))?;
        let config = GenerateConfig {
            sampling: self.model.sampling(&request.sampling(&self.model), 0),
            ..GenerateConfig::new(all)
        };
        self.due.clear();
        record_prompt(self.model.name(), prompt.len());
        let mut record = GenerationRecord::begin(self.model.name(), arrived);
        record.opened();
        let told = self.tell(line, request, (prompt, config, part), &mut record);
        match told.await {
            Ok(stopped) => {
                record.end(match stopped {
                    Stopped::Early { .. } => Outcome::Stop,
                    Stopped::ByLength => Outcome::Length,
                });
                if let Stopped::Early { is_replaced: true } = stopped {
                    self.replace_last(request.stop_sequence.as_deref())?;
                }
                Ok(())
            }
            Err(End::Gone) => Err(End::Gone),
            Err(End::Failed(error)) => {
                record.end(Outcome::Error);
                Err(End::Failed(error))
            }
        }
    }

    async fn tell(
        &mut self,
        line: &mut Line,
        request: &GenerateRequest,
        (prompt, config, part): (Vec<u32>, GenerateConfig, usize),
        record: &mut GenerationRecord,
    ) -> Result<Stopped, End> {
        let mut stops = request.stops();
        let mut generation = self.session.generate(prompt, config)?;
        let (mut outputs, mut tokens) = (String::new(), 0);
        loop {
            let next = room::step((&self.gateway, &self.model), generation.next());
            let Some(token) = line.meanwhile(next).await? else {
                break;
            };
            let token = token?;
            record.token(token.took);
            tokens += 1;
            self.answer.note(0, |progress| {
                progress.stage = Stage::Generating;
                progress.tokens += 1;
            });
            outputs += &token.text;
            let found = stops.as_mut().and_then(|stops| stops.push(&token.text));
            if let Some(found) = found {
                outputs.truncate(outputs.len() - token.text.len() + found.keep);
                line.say(&message(&outputs, tokens, true)).await?;
                return Ok(Stopped::Early {
                    is_replaced: found.is_extra,
                });
            }
            // A part without text is a character that is not whole yet.
            if stops.is_some() && tokens >= part && !outputs.is_empty() {
                line.say(&message(&outputs, tokens, false)).await?;
                outputs.clear();
                tokens = 0;
            }
        }
        let finished = generation.finish();
        line.say(&message(&outputs, tokens, true)).await?;
        Ok(match finished.reason {
            FinishReason::Length => Stopped::ByLength,
            FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error => Stopped::Early {
                is_replaced: request.has_extra_stops(),
            },
        })
    }

    /// The tokens of a question, with those that are due before it.
    async fn prompt(&self, inputs: Option<String>) -> Result<Vec<u32>, ApiError> {
        let mut prompt = self.due.clone();
        let Some(inputs) = inputs else {
            return Ok(prompt);
        };
        let codec = self.model.remote().local.tokenizer.clone();
        let is_first = self.session.ids().is_empty() && prompt.is_empty();
        let encoded = aside(move || {
            if is_first {
                codec.encode(&inputs)
            } else {
                codec.encode_continuation(&inputs)
            }
        })
        .await?;
        let ids = encoded.map_err(|error| ApiError::invalid("inputs", error.to_string()))?;
        prompt.extend(ids);
        Ok(prompt)
    }

    /// The session goes on as if the answer had ended by the stop text: what ended it is forgotten.
    fn replace_last(&mut self, stop: Option<&str>) -> Result<(), ApiError> {
        let last = self.session.ids().len().saturating_sub(1);
        self.session.roll_back(last)?;
        let codec = &self.model.remote().local.tokenizer;
        let due = codec.encode_continuation(stop.unwrap_or_default());
        self.due = due.map_err(|error| ApiError::invalid("stop_sequence", error.to_string()))?;
        Ok(())
    }

    /// Ends the session at every server.
    pub(super) async fn close(self) {
        self.session.close().await;
        drop(self.counted);
    }
}

fn message(outputs: &str, tokens: usize, is_stop: bool) -> Value {
    json!({ "ok": true, "outputs": outputs, "stop": is_stop, "token_count": tokens })
}

impl From<SessionError> for End {
    fn from(error: SessionError) -> Self {
        Self::Failed(error.into())
    }
}
