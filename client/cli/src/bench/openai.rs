//! One request to an OpenAI API, read as it streams.

use std::time::Duration;

use eventsource_stream::Eventsource;
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::sample::{Clock, Sample};
use crate::http_client::{HttpClient, HttpFailure, accepted, broken};

/// What every request asks.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) client: HttpClient,
    pub(super) model: String,
    pub(super) is_chat: bool,
    pub(super) prompt: String,
    pub(super) max_tokens: usize,
}

impl Api {
    /// Asks once.
    ///
    /// # Errors
    /// [`HttpFailure`]; an error inside the stream is one, too.
    pub(super) async fn ask(&self) -> Result<Sample, HttpFailure> {
        let path: &[&str] = if self.is_chat {
            &["v1", "chat", "completions"]
        } else {
            &["v1", "completions"]
        };
        let request = self.client.request(Method::POST, path).json(&self.body());
        let mut clock = Clock::start();
        let response = accepted(request).await?;
        let mut events = response.bytes_stream().eventsource();
        loop {
            let event = timeout(SILENCE_DEADLINE, events.next()).await;
            let event = event.map_err(|_| {
                let seconds = SILENCE_DEADLINE.as_secs();
                HttpFailure::Broken(format!("the stream was silent for {seconds} s"))
            })?;
            let event = match event {
                // Some servers end without saying so.
                None => break,
                Some(Ok(event)) => event,
                Some(Err(eventsource_stream::EventStreamError::Transport(error))) => {
                    return Err(broken(&error));
                }
                Some(Err(error)) => return Err(HttpFailure::Nonsense(error.to_string())),
            };
            if event.data == "[DONE]" {
                break;
            }
            take_in(&event.data, &mut clock)?;
        }
        Ok(clock.end())
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        if self.is_chat {
            body["messages"] = json!([{"role": "user", "content": self.prompt}]);
        } else {
            body["prompt"] = json!(self.prompt);
        }
        body
    }
}

/// Reads one chunk.
fn take_in(data: &str, clock: &mut Clock) -> Result<(), HttpFailure> {
    let nonsense = |reason: String| HttpFailure::Nonsense(reason);
    let chunk: Value = serde_json::from_str(data).map_err(|error| nonsense(error.to_string()))?;
    if let Some(error) = chunk.get("error") {
        let message = error["message"]
            .as_str()
            .unwrap_or("an error without a reason");
        return Err(HttpFailure::Broken(message.to_owned()));
    }
    let choice = &chunk["choices"][0];
    let text = choice["text"].as_str();
    let text = text.or_else(|| choice["delta"]["content"].as_str());
    if text.is_some_and(|text| !text.is_empty()) {
        clock.piece();
    }
    let count = |key: &str| chunk["usage"][key].as_u64();
    if let (Some(prompt), Some(answer)) = (count("prompt_tokens"), count("completion_tokens")) {
        clock.counted(prompt, answer);
    }
    Ok(())
}

/// Longest wait for a piece of an answer: a gateway says something every 15 s.
const SILENCE_DEADLINE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_both_kinds_are_counted_until_the_server_has_counted_itself() {
        let mut clock = Clock::start();
        for chunk in [
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}],"usage":null}"#,
            r#"{"choices":[{"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"text":"b"}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        ] {
            take_in(chunk, &mut clock).unwrap();
        }
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7}}"#;
        take_in(usage, &mut clock).unwrap();
        let sample = clock.end();
        assert_eq!((sample.tokens, sample.prompt_tokens), (7, Some(9)));
        assert_eq!(sample.gaps.len(), 1);
    }

    #[test]
    fn an_error_inside_the_stream_is_one() {
        let mut clock = Clock::start();
        let error = take_in(r#"{"error":{"message":"gave up"}}"#, &mut clock).unwrap_err();
        assert_eq!(error.to_string(), "gave up");
        assert!(take_in("{", &mut clock).is_err());
    }
}
