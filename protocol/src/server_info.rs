//! The record a server announces under each of its blocks' keys in the DHT.
//!
//! Value: tuple `(state: int, throughput: float, info: map)`; the map may be absent, keys too.
//!
//! | key                                          | type                                                    |
//! |----------------------------------------------|---------------------------------------------------------|
//! | `start_block`, `end_block`                   | int or nil: half-open span                              |
//! | `public_name`, `version`                     | text or nil                                             |
//! | `network_rps`, `forward_rps`, `inference_rps`| float or nil, finite, at least 0                        |
//! | `adapters`                                   | tuple of text                                           |
//! | `torch_dtype`, `quant_type`                  | text or nil                                             |
//! | `using_relay`                                | bool or nil                                             |
//! | `cache_tokens_left`                          | int or nil                                              |
//! | `next_pings`                                 | map: peer id in base58 to seconds; float, +inf allowed  |
//! | `codecs`, `implementation`                   | ours: tuple of text; text. Unknown to Petals            |
//!
//! Floats are strict: an integer, NaN or a negative number makes Petals drop the whole record,
//! and us too. Unknown keys are ignored. Source: Petals main, `data_structures.py`.
//! Golden bytes: `petals.dht_value.*`.

use std::collections::BTreeMap;

use crate::{
    error::{DecodeError, EncodeError},
    limits::{MAX_NEXT_PINGS, MAX_RECORD_BYTES},
    msgpack::{self, Fields, Value},
    uid::Span,
};

const WHAT: &str = "server record";

/// Whether clients may route through a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerState {
    /// Leaving or gone.
    Offline = 0,
    /// Loading its blocks; counts for balancing only.
    Joining = 1,
    /// Serving.
    Online = 2,
}

/// The announced value.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerRecord {
    /// Whether to route here.
    pub state: ServerState,
    /// Tokens per second of the whole span, for balancing; finite, at least 0.
    pub throughput: f64,
    /// Everything else.
    pub info: ServerInfo,
}

/// The map inside the record. `None` is nil or absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerInfo {
    /// The blocks served; if absent, the keys under which the record stands say it.
    pub span: Option<Span>,
    /// Name to show beside the server.
    pub public_name: Option<String>,
    /// Petals version spoken; advisory.
    pub version: Option<String>,
    /// Requests per second that the network link carries.
    pub network_rps: Option<f64>,
    /// Tokens per second through one block without a cache.
    pub forward_rps: Option<f64>,
    /// Tokens per second through one block, one token a step.
    pub inference_rps: Option<f64>,
    /// LoRA adapters on offer.
    pub adapters: Vec<String>,
    /// Element type of the residual stream: `float32`, `float16`, `bfloat16`.
    pub torch_dtype: Option<String>,
    /// Quantization of the weights: `none`, `int8`, `nf4`.
    pub quant_type: Option<String>,
    /// Whether the server is reached through a relay.
    pub using_relay: Option<bool>,
    /// Free cache in tokens of one block, keys and values counted apart.
    pub cache_tokens_left: Option<u64>,
    /// Seconds to servers that may come next, by peer id in base58.
    pub next_pings: BTreeMap<String, f64>,
    /// Ours: names of the codecs that the server decodes and encodes.
    pub codecs: Vec<String>,
    /// Ours: program and version, such as `block-server/0.1.0`.
    pub implementation: Option<String>,
}

impl ServerRecord {
    /// The msgpack value for the DHT.
    ///
    /// # Errors
    /// `Invalid` for a throughput, rate or ping that readers would reject, `LimitExceeded` for a
    /// record over [`MAX_RECORD_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let record = msgpack::encode(&msgpack::tuple(vec![
            (self.state as u8).into(),
            rate_value("throughput", self.throughput)?,
            self.info.to_value()?,
        ]));
        EncodeError::check_len("server record bytes", record.len(), MAX_RECORD_BYTES)?;
        Ok(record)
    }

    /// Reads the msgpack value.
    ///
    /// # Errors
    /// `WrongType`, `Malformed`, `Unsupported` (state) or `LimitExceeded`; skip such a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let value = msgpack::decode(bytes, WHAT, MAX_RECORD_BYTES)?;
        let items = msgpack::sequence(&value, WHAT)?;
        let [state, throughput, rest @ ..] = items.as_slice() else {
            return Err(DecodeError::malformed(WHAT, "fewer than two elements"));
        };
        Ok(Self {
            state: server_state(state)?,
            throughput: rate(throughput, "throughput")?,
            info: rest
                .first()
                .map(ServerInfo::from_value)
                .transpose()?
                .unwrap_or_default(),
        })
    }
}

impl ServerInfo {
    fn to_value(&self) -> Result<Value, EncodeError> {
        let text = |text: &Option<String>| msgpack::nullable(text.as_deref(), Value::from);
        let rate =
            |what, rate: Option<f64>| rate.map_or(Ok(Value::Nil), |rate| rate_value(what, rate));
        let block = |block: fn(Span) -> usize| {
            msgpack::nullable(self.span, |span| msgpack::integer(block(span)))
        };
        let mut entries = vec![
            ("start_block", block(Span::start)),
            ("end_block", block(Span::end)),
            ("public_name", text(&self.public_name)),
            ("version", text(&self.version)),
            ("network_rps", rate("network_rps", self.network_rps)?),
            ("forward_rps", rate("forward_rps", self.forward_rps)?),
            ("inference_rps", rate("inference_rps", self.inference_rps)?),
            ("adapters", msgpack::text_tuple(&self.adapters)),
            ("torch_dtype", text(&self.torch_dtype)),
            ("quant_type", text(&self.quant_type)),
            (
                "using_relay",
                msgpack::nullable(self.using_relay, Value::from),
            ),
            (
                "cache_tokens_left",
                msgpack::nullable(self.cache_tokens_left, Value::from),
            ),
            ("next_pings", self.pings_value()?),
        ];
        if !self.codecs.is_empty() {
            entries.push(("codecs", msgpack::text_tuple(&self.codecs)));
        }
        if let Some(implementation) = &self.implementation {
            entries.push(("implementation", implementation.as_str().into()));
        }
        Ok(Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        ))
    }

    fn pings_value(&self) -> Result<Value, EncodeError> {
        EncodeError::check_len("next_pings", self.next_pings.len(), MAX_NEXT_PINGS)?;
        let entries = self.next_pings.iter().map(|(peer_id, &seconds)| {
            if seconds.is_nan() || seconds < 0.0 {
                return Err(EncodeError::invalid("next_pings", "not a time span"));
            }
            Ok((peer_id.as_str().into(), seconds.into()))
        });
        entries.collect::<Result<_, _>>().map(Value::Map)
    }

    fn from_value(value: &Value) -> Result<Self, DecodeError> {
        let fields = Fields::of(value, WHAT)?;
        Ok(Self {
            span: span(fields)?,
            public_name: fields.optional("public_name", msgpack::name)?,
            version: fields.optional("version", msgpack::name)?,
            network_rps: fields.optional("network_rps", rate)?,
            forward_rps: fields.optional("forward_rps", rate)?,
            inference_rps: fields.optional("inference_rps", rate)?,
            adapters: fields
                .optional("adapters", msgpack::names)?
                .unwrap_or_default(),
            torch_dtype: fields.optional("torch_dtype", msgpack::name)?,
            quant_type: fields.optional("quant_type", msgpack::name)?,
            using_relay: fields.optional("using_relay", msgpack::flag)?,
            cache_tokens_left: fields.optional("cache_tokens_left", msgpack::unsigned)?,
            next_pings: fields.optional("next_pings", pings)?.unwrap_or_default(),
            codecs: fields
                .optional("codecs", msgpack::names)?
                .unwrap_or_default(),
            implementation: fields.optional("implementation", msgpack::name)?,
        })
    }
}

fn server_state(value: &Value) -> Result<ServerState, DecodeError> {
    match msgpack::unsigned(value, "server state")? {
        0 => Ok(ServerState::Offline),
        1 => Ok(ServerState::Joining),
        2 => Ok(ServerState::Online),
        other => Err(DecodeError::unsupported("server state", other)),
    }
}

fn span(fields: Fields<'_>) -> Result<Option<Span>, DecodeError> {
    let start = fields.optional("start_block", msgpack::count)?;
    let end = fields.optional("end_block", msgpack::count)?;
    match (start, end) {
        (None, None) => Ok(None),
        (Some(start), Some(end)) => Span::new(start, end).map(Some),
        _ => Err(DecodeError::malformed(WHAT, "only one end of the span")),
    }
}

fn rate(value: &Value, what: &'static str) -> Result<f64, DecodeError> {
    let rate = msgpack::float(value, what)?;
    if !is_rate(rate) {
        return Err(DecodeError::malformed(what, "negative or not finite"));
    }
    Ok(rate)
}

fn rate_value(what: &'static str, rate: f64) -> Result<Value, EncodeError> {
    if !is_rate(rate) {
        return Err(EncodeError::invalid(what, "negative or not finite"));
    }
    Ok(rate.into())
}

fn is_rate(rate: f64) -> bool {
    rate.is_finite() && rate >= 0.0
}

fn pings(value: &Value, what: &'static str) -> Result<BTreeMap<String, f64>, DecodeError> {
    let entries = value.as_map().ok_or(DecodeError::WrongType {
        what,
        expected: "a map",
    })?;
    DecodeError::check_len(what, entries.len(), MAX_NEXT_PINGS)?;
    let entry = |(peer_id, seconds): &(Value, Value)| {
        let seconds = msgpack::float(seconds, what)?;
        if seconds.is_nan() || seconds < 0.0 {
            return Err(DecodeError::malformed(what, "not a time span"));
        }
        Ok((msgpack::name(peer_id, what)?, seconds))
    };
    entries.iter().map(entry).collect()
}

#[cfg(test)]
mod tests;
