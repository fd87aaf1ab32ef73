//! What is asked in Petals' words. Its parameters are those of transformers' `generate`.

use block_client::SamplingOverrides;
use serde_json::{Map, Value};

use super::stops::Stops;
use crate::api_error::{ApiError, ErrorCode};
use crate::request::Fields;
use crate::served_model::ServedModel;

/// `open_inference_session`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenRequest {
    pub(super) model: String,
    /// Tokens that the session may ever hold.
    pub(super) max_length: usize,
}

/// `generate`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GenerateRequest {
    pub(super) inputs: Option<String>,
    /// Tokens of everything: what the session holds, the inputs, and the answer.
    max_length: Option<usize>,
    /// Tokens of the answer, or of each of its parts if there are stop texts.
    max_new_tokens: Option<usize>,
    does_sample: bool,
    sampling: SamplingOverrides,
    pub(super) stop_sequence: Option<String>,
    extra_stop_sequences: Vec<String>,
}

/// The JSON object of one message.
///
/// # Errors
/// It is none.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) | Err(_) => Err(ApiError::new(
            ErrorCode::InvalidValue,
            "a message must be a JSON object",
        )),
    }
}

/// The fields of a form, with numbers where numbers are expected.
pub(super) fn form(body: &[u8]) -> Map<String, Value> {
    let pairs = form_urlencoded::parse(body).take(MAX_FORM_FIELDS);
    let fields = pairs.map(|(name, text)| {
        let is_text = TEXT_FIELDS.contains(&name.as_ref());
        let number = serde_json::from_str(&text).ok().filter(Value::is_number);
        let value = number.filter(|_| !is_text);
        let value = value.unwrap_or_else(|| text.into_owned().into());
        (name.into_owned(), value)
    });
    fields.collect()
}

impl OpenRequest {
    /// # Errors
    /// Another message, or a field that cannot be used.
    pub(super) fn read(message: &Map<String, Value>) -> Result<Self, ApiError> {
        let fields = Fields::new(message);
        expect_type(&fields, "open_inference_session")?;
        let max_length = fields.whole("max_length", 1..=usize::MAX)?;
        Ok(Self {
            model: model(&fields)?,
            max_length: max_length
                .ok_or_else(|| fields.wrong("max_length", "a number of tokens"))?,
        })
    }
}

impl GenerateRequest {
    /// A message of a WebSocket.
    ///
    /// # Errors
    /// Another message, or a field that cannot be used.
    pub(super) fn of_message(message: &Map<String, Value>) -> Result<Self, ApiError> {
        let fields = Fields::new(message);
        expect_type(&fields, "generate")?;
        Self::read(&fields)
    }

    /// # Errors
    /// The first field that cannot be used.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, ApiError> {
        let request = Self {
            inputs: fields.text("inputs")?.map(str::to_owned),
            max_length: fields.whole("max_length", 1..=usize::MAX)?,
            max_new_tokens: fields.whole("max_new_tokens", 1..=usize::MAX)?,
            does_sample: truth(fields, "do_sample")?,
            sampling: SamplingOverrides {
                temperature: fields.number("temperature", 0.0..=2.0)?,
                top_k: fields.whole("top_k", 0..=usize::MAX)?,
                top_p: fields.number("top_p", f32::MIN_POSITIVE..=1.0)?,
                repetition_penalty: fields.number(
                    "repetition_penalty",
                    f32::MIN_POSITIVE..=MAX_REPETITION_PENALTY,
                )?,
                ..SamplingOverrides::default()
            },
            stop_sequence: stop(fields)?,
            extra_stop_sequences: extra_stops(fields)?,
        };
        if request.stop_sequence.is_none() && !request.extra_stop_sequences.is_empty() {
            return Err(fields.refused(
                "extra_stop_sequences",
                "only together with stop_sequence, which takes their place in the session",
            ));
        }
        Ok(request)
    }

    /// What ends the answer; `None`: its length alone.
    pub(super) fn stops(&self) -> Option<Stops> {
        let main = self.stop_sequence.clone()?;
        Some(Stops::new(Some(main), self.extra_stop_sequences.clone()))
    }

    /// Whether `stop_sequence` takes the place of whatever else ends an answer.
    pub(super) fn has_extra_stops(&self) -> bool {
        !self.extra_stop_sequences.is_empty()
    }

    /// Tokens of the answer, or of one part. `held`: those before it, in a session that may hold `max_length`.
    ///
    /// # Errors
    /// They do not fit, or the request gives no number.
    pub(super) fn tokens(&self, held: usize, max_length: usize) -> Result<usize, ApiError> {
        let tokens = match (self.max_new_tokens, self.max_length) {
            (Some(tokens), _) => tokens,
            (None, Some(all)) => all.saturating_sub(held),
            (None, None) => {
                let text = "give max_new_tokens or max_length";
                return Err(ApiError::invalid("max_new_tokens", text));
            }
        };
        if tokens == 0 || tokens > max_length.saturating_sub(held) {
            let text = format!(
                "{held} tokens are there and {} more are asked for: {max_length} are the most here",
                tokens.max(1)
            );
            return Err(ApiError::new(ErrorCode::ContextLengthExceeded, text));
        }
        Ok(tokens)
    }

    /// How tokens are chosen: the likeliest unless `do_sample` says otherwise.
    pub(super) fn sampling(&self, model: &ServedModel) -> SamplingOverrides {
        let advised = model.remote().local.generation_defaults().temperature;
        let temperature = if self.does_sample {
            self.sampling.temperature.or(advised).unwrap_or(1.0)
        } else {
            0.0
        };
        SamplingOverrides {
            temperature: Some(temperature),
            ..self.sampling.clone()
        }
    }
}

/// The name of the model.
///
/// # Errors
/// There is none.
pub(super) fn model(fields: &Fields<'_>) -> Result<String, ApiError> {
    let model = fields.text("model")?;
    model
        .map(str::to_owned)
        .ok_or_else(|| fields.wrong("model", "the name of a model"))
}

fn expect_type(fields: &Fields<'_>, expected: &str) -> Result<(), ApiError> {
    match fields.text("type")? {
        Some(found) if found == expected => Ok(()),
        _ => Err(fields.refused("type", &format!("here it must be {expected:?}"))),
    }
}

/// Python's truth: 0 and 1, too.
fn truth(fields: &Fields<'_>, name: &str) -> Result<bool, ApiError> {
    match fields.get(name) {
        None => Ok(false),
        Some(Value::Bool(is_true)) => Ok(*is_true),
        Some(Value::Number(number)) => Ok(number.as_f64() != Some(0.0)),
        Some(_) => Err(fields.wrong(name, "0 or 1")),
    }
}

fn stop(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    let stop = fields.text("stop_sequence")?;
    if stop.is_some_and(|stop| !is_stop(stop)) {
        let why = format!("a text of 1 to {MAX_STOP_BYTES} bytes");
        return Err(fields.refused("stop_sequence", &why));
    }
    Ok(stop.map(str::to_owned))
}

fn extra_stops(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let stops = fields.list("extra_stop_sequences")?.unwrap_or_default();
    let texts: Option<Vec<String>> = stops
        .iter()
        .map(|stop| {
            stop.as_str()
                .filter(|stop| is_stop(stop))
                .map(str::to_owned)
        })
        .collect();
    match texts {
        Some(texts) if texts.len() <= MAX_STOPS => Ok(texts),
        _ => Err(fields.refused(
            "extra_stop_sequences",
            &format!("up to {MAX_STOPS} texts of 1 to {MAX_STOP_BYTES} bytes"),
        )),
    }
}

fn is_stop(text: &str) -> bool {
    (1..=MAX_STOP_BYTES).contains(&text.len())
}

/// Fields of a form that stay text, whatever they look like.
const TEXT_FIELDS: &[&str] = &["model", "inputs"];
/// Twice what there are.
const MAX_FORM_FIELDS: usize = 32;
/// Petals' page has six for a model.
const MAX_STOPS: usize = 16;
/// Each is looked for after every token.
const MAX_STOP_BYTES: usize = 256;
/// Above this nothing but new tokens would be left.
const MAX_REPETITION_PENALTY: f32 = 100.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<GenerateRequest, ApiError> {
        GenerateRequest::read(&Fields::new(value.as_object().unwrap()))
    }

    #[test]
    fn a_form_is_read_as_the_same_in_json() {
        let form =
            form(b"model=1&inputs=42&max_new_tokens=3&do_sample=1&top_p=0.9&temperature=%30.5");
        assert_eq!(
            Value::Object(form.clone()),
            json!({
                "model": "1", "inputs": "42", "max_new_tokens": 3, "do_sample": 1, "top_p": 0.9,
                "temperature": 0.5,
            })
        );
        let request = GenerateRequest::read(&Fields::new(&form)).unwrap();
        assert!(request.does_sample && request.inputs.as_deref() == Some("42"));
        let spaced = super::form(b"inputs=a+cat%20sat");
        assert_eq!(spaced["inputs"], "a cat sat");
    }

    #[test]
    fn lengths_count_what_is_there() {
        let new = read(&json!({ "max_new_tokens": 3 })).unwrap();
        assert_eq!(new.tokens(7, 10).unwrap(), 3);
        let all = read(&json!({ "max_length": 10 })).unwrap();
        assert_eq!(all.tokens(7, 20).unwrap(), 3);
        for (request, held, room) in [(&new, 8, 10), (&all, 10, 20), (&all, 3, 9)] {
            let error = request.tokens(held, room).unwrap_err();
            assert_eq!(error.code(), ErrorCode::ContextLengthExceeded);
        }
        let neither = read(&json!({})).unwrap();
        assert_eq!(
            neither.tokens(0, 10).unwrap_err().code(),
            ErrorCode::InvalidValue
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            json!({ "do_sample": "yes" }),
            json!({ "stop_sequence": "" }),
            json!({ "stop_sequence": "x".repeat(257) }),
            json!({ "extra_stop_sequences": ["x"] }),
            json!({ "stop_sequence": "x", "extra_stop_sequences": [""] }),
            json!({ "stop_sequence": "x", "extra_stop_sequences": vec!["x"; 17] }),
            json!({ "max_new_tokens": 0 }),
            json!({ "top_p": 2 }),
        ] {
            assert_eq!(
                read(&wrong).unwrap_err().code(),
                ErrorCode::InvalidValue,
                "{wrong}"
            );
        }
        let opened = json!({ "type": "generate", "model": "m", "max_length": 8 });
        let error = OpenRequest::read(opened.as_object().unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("open_inference_session"),
            "{error}"
        );
        assert!(object("[]").is_err() && object("{").is_err());
    }
}
