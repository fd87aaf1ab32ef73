//! What chat and text completion have in common: how tokens are chosen, when an answer ends, how it is told.

use std::collections::BTreeMap;

use block_client::SamplingOverrides;
use block_network::PeerId;

use super::fields::Fields;
use crate::api_error::ApiError;

/// How an answer is made and told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AnswerOptions {
    /// Most tokens of each choice.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) sampling: SamplingOverrides,
    pub(crate) stop: Vec<String>,
    /// Answers to each prompt.
    pub(crate) choices: usize,
    /// Tokens before which nothing ends an answer.
    pub(crate) min_tokens: usize,
    pub(crate) ignore_eos: bool,
    /// Whether, and how, it comes as a stream.
    pub(crate) stream: Option<StreamOptions>,
    /// Servers to go through, in this order.
    pub(crate) route: Option<Vec<PeerId>>,
}

/// How a stream is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamOptions {
    /// Whether it ends with a chunk of token counts.
    pub(crate) include_usage: bool,
}

impl AnswerOptions {
    /// Reads them. `least_tokens`: the smallest `max_tokens`; an echo alone needs none.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub(crate) fn read(fields: &Fields<'_>, least_tokens: usize) -> Result<Self, ApiError> {
        Ok(Self {
            max_tokens: fields.whole("max_tokens", least_tokens..=usize::MAX)?,
            sampling: sampling(fields)?,
            stop: stop(fields)?,
            choices: fields.whole("n", 1..=MAX_CHOICES)?.unwrap_or(1),
            min_tokens: fields.whole("min_tokens", 0..=usize::MAX)?.unwrap_or(0),
            ignore_eos: fields.flag("ignore_eos")?.unwrap_or(false),
            stream: stream(fields)?,
            route: route(fields)?,
        })
    }
}

/// Fields of these options.
pub(super) const ANSWER_FIELDS: &[&str] = &[
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "n",
    "ignore_eos",
    "stream",
    "stream_options",
    "route",
    "logit_bias",
    "min_tokens",
];

/// Weights of tokens: their ids as strings.
fn logit_bias(fields: &Fields<'_>) -> Result<BTreeMap<u32, f32>, ApiError> {
    let biases = fields.object("logit_bias")?.into_iter().flatten();
    let biases = biases.map(|(id, bias)| {
        let bias = bias.as_f64().filter(|bias| bias.abs() <= MAX_BIAS)?;
        #[expect(clippy::cast_possible_truncation, reason = "a hundred at most")]
        let bias = bias as f32;
        Some((id.parse().ok()?, bias))
    });
    let biases: Option<BTreeMap<_, _>> = biases.collect();
    match biases {
        Some(biases) if biases.len() <= MAX_BIASES => Ok(biases),
        _ => Err(fields.wrong(
            "logit_bias",
            &format!("up to {MAX_BIASES} ids of tokens, each with a number from -100 to 100"),
        )),
    }
}

fn sampling(fields: &Fields<'_>) -> Result<SamplingOverrides, ApiError> {
    let above_zero = f32::MIN_POSITIVE;
    let top_k = match fields.integer("top_k")? {
        // vLLM's word for all tokens.
        Some(-1) => Some(0),
        _ => fields.whole("top_k", 0..=usize::MAX)?,
    };
    Ok(SamplingOverrides {
        temperature: fields.number("temperature", 0.0..=2.0)?,
        top_k,
        top_p: fields.number("top_p", above_zero..=1.0)?,
        min_p: fields.number("min_p", 0.0..=1.0)?,
        repetition_penalty: fields
            .number("repetition_penalty", above_zero..=MAX_REPETITION_PENALTY)?,
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?,
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?,
        logit_bias: logit_bias(fields)?,
        seed: fields.integer("seed")?.map(i64::cast_unsigned),
    })
}

/// A string, or a list of up to four.
fn stop(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let Some(value) = fields.get("stop") else {
        return Ok(Vec::new());
    };
    let texts: Option<Vec<String>> = match value {
        serde_json::Value::String(text) => Some(vec![text.clone()]),
        serde_json::Value::Array(texts) => texts
            .iter()
            .map(|text| text.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    };
    match texts {
        Some(texts) if texts.len() <= MAX_STOPS && !texts.iter().any(String::is_empty) => Ok(texts),
        _ => Err(fields.wrong(
            "stop",
            &format!("a string or a list of up to {MAX_STOPS} strings, none of them empty"),
        )),
    }
}

fn stream(fields: &Fields<'_>) -> Result<Option<StreamOptions>, ApiError> {
    let is_stream = fields.flag("stream")?.unwrap_or(false);
    let options = fields.object("stream_options")?;
    if options.is_some() && !is_stream {
        return Err(fields.refused("stream_options", "only together with \"stream\": true"));
    }
    let include_usage = match options {
        Some(options) => Fields::inside(options, "stream_options.").flag("include_usage")?,
        None => None,
    };
    Ok(is_stream.then(|| StreamOptions {
        include_usage: include_usage.unwrap_or(false),
    }))
}

fn route(fields: &Fields<'_>) -> Result<Option<Vec<PeerId>>, ApiError> {
    let Some(peers) = fields.list("route")? else {
        return Ok(None);
    };
    let peers: Option<Vec<PeerId>> = peers
        .iter()
        .map(|peer| peer.as_str()?.parse().ok())
        .collect();
    match peers {
        Some(peers) if (1..=MAX_ROUTE).contains(&peers.len()) => Ok(Some(peers)),
        _ => Err(fields.wrong("route", "a list of peer ids")),
    }
}

/// OpenAI's limit is 128, but each choice is a session of its own at the servers.
const MAX_CHOICES: usize = 4;
/// OpenAI's limit.
const MAX_BIAS: f64 = 100.0;
/// More than anybody weighs by hand; each is looked at for every token.
const MAX_BIASES: usize = 1024;
/// OpenAI's limit.
const MAX_STOPS: usize = 4;
/// Above this nothing but new tokens would be left.
const MAX_REPETITION_PENALTY: f32 = 100.0;
/// Servers of a route: more than the blocks of any model.
const MAX_ROUTE: usize = 256;
