//! Metadata: the msgpack map beside the tensors of a compute request.
//!
//! | key                   | in                   | type                                           | absent     |
//! |-----------------------|----------------------|------------------------------------------------|------------|
//! | `session_id`          | step                 | text                                           | no pushes  |
//! | `step_id`             | step                 | text, equal for repeats of one step            | no check   |
//! | `max_length`          | first step           | int: tokens to reserve                         | error      |
//! | `points`              | forward, first step  | number, unused                                 | 0          |
//! | `active_adapter`      | forward, first step  | text or nil; "" = none                         | none       |
//! | `alloc_timeout`       | first step           | number: seconds to wait for cache memory       | 0          |
//! | `output_compression`  | forward, first step  | tuple of codec numbers, one per output         | the schema |
//! | `cache_grows`         | first step           | bool: less than `max_length` will do at first  | false      |
//! | `start_from_position` | step                 | int: cut the cache back to this many tokens    | keep all   |
//! | `args_structure`      | all                  | see [`crate::args`]                            | positional |
//! | `next_servers`        | step                 | list of (peer id, session id, start, end)      | none       |
//! | `pushed`              | step, by `rpc_push`  | bool                                           | false      |
//!
//! Unknown keys are ignored, nil counts as absent, a wrong type is an error. That
//! `output_compression` is honoured on an inference session is our extension, and so is `cache_grows`.
//! Keys are written in the order of Petals' own client, so that equal metadata are equal bytes.
//! Source: Petals main, `server/handler.py`, `client/inference_session.py`.

use std::time::Duration;

use crate::{
    args::ArgsStructure,
    compression::Compression,
    error::DecodeError,
    limits::{
        MAX_ID_BYTES, MAX_METADATA_BYTES, MAX_NAME_BYTES, MAX_NEXT_SERVERS, MAX_TENSORS_PER_MESSAGE,
    },
    msgpack::{self, Fields, Value},
    uid::Span,
};

const WHAT: &str = "metadata";

/// Metadata of `rpc_forward`, `rpc_backward` and their stream variants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ForwardMetadata {
    /// Carried for the reference's sake; without meaning.
    pub points: f64,
    /// LoRA adapter to apply.
    pub active_adapter: Option<String>,
    /// Which tensor is which argument.
    pub args: Option<ArgsStructure>,
    /// Codec of each output, instead of the schema's.
    pub output_compression: Option<Vec<Compression>>,
}

/// Metadata of a session's first step.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenMetadata {
    /// Tokens that the session may ever hold.
    pub max_length: usize,
    /// Carried for the reference's sake; without meaning.
    pub points: f64,
    /// LoRA adapter to apply in all steps.
    pub active_adapter: Option<String>,
    /// How long to wait for cache memory; the server caps it.
    pub alloc_timeout: Duration,
    /// Codec of each output in all steps, instead of the schema's.
    pub output_compression: Option<Vec<Compression>>,
    /// Whether the session may be admitted on less than `max_length`, and end later for want of more.
    pub cache_grows: bool,
    /// What every step has.
    pub step: StepMetadata,
}

/// Metadata of any step of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepMetadata {
    /// The session's name on this server, if pushes are wanted.
    pub session_id: Option<String>,
    /// The step's identity: whoever brings it, it runs once.
    pub step_id: Option<String>,
    /// Tokens to keep in the cache before this step.
    pub start_from_position: Option<usize>,
    /// Which tensor is which argument; servers of the reference read it on the first step only.
    pub args: Option<ArgsStructure>,
    /// The route after this server, nearest first.
    pub next_servers: Vec<NextServer>,
    /// Whether another server sent the step.
    pub pushed: bool,
}

/// One server further down the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextServer {
    /// Peer id in base58; not checked here.
    pub peer_id: String,
    /// The client's session on that server.
    pub session_id: String,
    /// The blocks to run there.
    pub span: Span,
}

impl ForwardMetadata {
    /// Reads the map; empty bytes are an empty map.
    ///
    /// # Errors
    /// `WrongType`, `Malformed`, `Unsupported` (codec) or `LimitExceeded`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let map = decode_map(bytes)?;
        let fields = Fields::of(&map, WHAT)?;
        Ok(Self {
            points: points(fields)?,
            active_adapter: active_adapter(fields)?,
            args: fields.optional("args_structure", |value, _| {
                ArgsStructure::from_value(value)
            })?,
            output_compression: fields.optional("output_compression", codecs)?,
        })
    }

    /// The map.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::default();
        map.put("points", self.points);
        map.put(
            "active_adapter",
            adapter_value(self.active_adapter.as_deref()),
        );
        map.put_some(
            "args_structure",
            self.args.as_ref().map(ArgsStructure::to_value),
        );
        map.put_some(
            "output_compression",
            self.output_compression.as_deref().map(codecs_value),
        );
        map.finish()
    }
}

impl OpenMetadata {
    /// Reads the map of a first step.
    ///
    /// # Errors
    /// `Missing` without `max_length`, otherwise as [`StepMetadata::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let map = decode_map(bytes)?;
        let fields = Fields::of(&map, WHAT)?;
        Ok(Self {
            max_length: fields.required("max_length", msgpack::count)?,
            points: points(fields)?,
            active_adapter: active_adapter(fields)?,
            alloc_timeout: fields
                .optional("alloc_timeout", seconds)?
                .unwrap_or_default(),
            output_compression: fields.optional("output_compression", codecs)?,
            cache_grows: fields
                .optional("cache_grows", msgpack::flag)?
                .unwrap_or(false),
            step: StepMetadata::from_fields(fields)?,
        })
    }

    /// The map.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::default();
        self.step.put_ids(&mut map);
        map.put("max_length", msgpack::integer(self.max_length));
        map.put("points", self.points);
        map.put(
            "active_adapter",
            adapter_value(self.active_adapter.as_deref()),
        );
        if !self.alloc_timeout.is_zero() {
            map.put("alloc_timeout", self.alloc_timeout.as_secs_f64());
        }
        map.put_some(
            "output_compression",
            self.output_compression.as_deref().map(codecs_value),
        );
        if self.cache_grows {
            map.put("cache_grows", true);
        }
        self.step.put_args(&mut map);
        self.step.put_position(&mut map);
        self.step.put_route(&mut map);
        map.finish()
    }
}

impl StepMetadata {
    /// Reads the map of any step; empty bytes are an empty map.
    ///
    /// # Errors
    /// `WrongType`, `Malformed` or `LimitExceeded`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let map = decode_map(bytes)?;
        Self::from_fields(Fields::of(&map, WHAT)?)
    }

    /// The map.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::default();
        self.put_ids(&mut map);
        self.put_position(&mut map);
        self.put_args(&mut map);
        self.put_route(&mut map);
        map.finish()
    }

    /// Whom to push this step's output to, and the metadata to send along; `None` at the end
    /// of the route.
    #[must_use]
    pub fn for_push(&self) -> Option<(NextServer, Self)> {
        let (next, further) = self.next_servers.split_first()?;
        let pushed = Self {
            session_id: Some(next.session_id.clone()),
            next_servers: further.to_vec(),
            pushed: true,
            ..self.clone()
        };
        Some((next.clone(), pushed))
    }

    fn from_fields(fields: Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            session_id: fields.optional("session_id", id)?,
            step_id: fields.optional("step_id", id)?,
            start_from_position: fields.optional("start_from_position", msgpack::count)?,
            args: fields.optional("args_structure", |value, _| {
                ArgsStructure::from_value(value)
            })?,
            next_servers: fields
                .optional("next_servers", next_servers)?
                .unwrap_or_default(),
            pushed: fields.optional("pushed", msgpack::flag)?.unwrap_or(false),
        })
    }

    fn put_ids(&self, map: &mut MapWriter) {
        map.put_some("session_id", self.session_id.as_deref());
        map.put_some("step_id", self.step_id.as_deref());
    }

    fn put_args(&self, map: &mut MapWriter) {
        map.put_some(
            "args_structure",
            self.args.as_ref().map(ArgsStructure::to_value),
        );
    }

    fn put_position(&self, map: &mut MapWriter) {
        map.put_some(
            "start_from_position",
            self.start_from_position.map(msgpack::integer),
        );
    }

    fn put_route(&self, map: &mut MapWriter) {
        if !self.next_servers.is_empty() || self.pushed {
            let route = self.next_servers.iter().map(NextServer::to_value);
            map.put("next_servers", Value::Array(route.collect()));
        }
        if self.pushed {
            map.put("pushed", true);
        }
    }
}

impl NextServer {
    fn to_value(&self) -> Value {
        msgpack::tuple(vec![
            self.peer_id.as_str().into(),
            self.session_id.as_str().into(),
            msgpack::integer(self.span.start()),
            msgpack::integer(self.span.end()),
        ])
    }

    fn from_value(value: &Value) -> Result<Self, DecodeError> {
        const WHAT: &str = "next_servers";
        let items = msgpack::sequence(value, WHAT)?;
        let [peer_id, session, start, end] = items.as_slice() else {
            return Err(DecodeError::malformed(
                WHAT,
                "an entry has not four elements",
            ));
        };
        let peer_id = msgpack::text(peer_id, WHAT)?;
        DecodeError::check_len("peer id bytes", peer_id.len(), MAX_NAME_BYTES)?;
        Ok(Self {
            peer_id: peer_id.to_owned(),
            session_id: id(session, WHAT)?,
            span: Span::new(msgpack::count(start, WHAT)?, msgpack::count(end, WHAT)?)?,
        })
    }
}

/// Entries in the order they are put.
#[derive(Default)]
struct MapWriter {
    entries: Vec<(Value, Value)>,
}

impl MapWriter {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.entries.push((key.into(), value.into()));
    }

    fn put_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn finish(self) -> Vec<u8> {
        msgpack::encode(&Value::Map(self.entries))
    }
}

fn decode_map(bytes: &[u8]) -> Result<Value, DecodeError> {
    if bytes.is_empty() {
        return Ok(Value::Map(Vec::new()));
    }
    msgpack::decode(bytes, WHAT, MAX_METADATA_BYTES)
}

fn points(fields: Fields<'_>) -> Result<f64, DecodeError> {
    Ok(fields.optional("points", msgpack::number)?.unwrap_or(0.0))
}

fn active_adapter(fields: Fields<'_>) -> Result<Option<String>, DecodeError> {
    let name = fields.optional("active_adapter", msgpack::name)?;
    Ok(name.filter(|name| !name.is_empty()))
}

fn adapter_value(name: Option<&str>) -> Value {
    msgpack::nullable(name, Value::from)
}

fn id(value: &Value, what: &'static str) -> Result<String, DecodeError> {
    let id = msgpack::text(value, what)?;
    DecodeError::check_len(what, id.len(), MAX_ID_BYTES)?;
    Ok(id.to_owned())
}

fn seconds(value: &Value, what: &'static str) -> Result<Duration, DecodeError> {
    let seconds = msgpack::number(value, what)?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(DecodeError::malformed(what, "not a time span"));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

fn codecs(value: &Value, what: &'static str) -> Result<Vec<Compression>, DecodeError> {
    let numbers = msgpack::sequence(value, what)?;
    DecodeError::check_len(what, numbers.len(), MAX_TENSORS_PER_MESSAGE)?;
    numbers.iter().map(|number| codec(number, what)).collect()
}

fn codecs_value(codecs: &[Compression]) -> Value {
    msgpack::tuple(codecs.iter().map(|codec| codec.number().into()).collect())
}

/// A codec by its number.
pub(crate) fn codec(value: &Value, what: &'static str) -> Result<Compression, DecodeError> {
    let number = msgpack::unsigned(value, what)?;
    i32::try_from(number)
        .ok()
        .and_then(|number| Compression::try_from(number).ok())
        .ok_or_else(|| DecodeError::unsupported(what, number))
}

fn next_servers(value: &Value, what: &'static str) -> Result<Vec<NextServer>, DecodeError> {
    let servers = msgpack::sequence(value, what)?;
    DecodeError::check_len(what, servers.len(), MAX_NEXT_SERVERS)?;
    servers.iter().map(NextServer::from_value).collect()
}

#[cfg(test)]
mod tests;
