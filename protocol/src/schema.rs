//! What `rpc_info` answers: a server's offer and the tensors its calls take and give.
//!
//! | key                       | type                                                  | sent                  |
//! |---------------------------|-------------------------------------------------------|-----------------------|
//! | `version`                 | text: the Petals version we speak                     | always                |
//! | `dht_client_mode`         | bool                                                  | always                |
//! | `cache_tokens_available`  | int: tokens of one block that still fit the cache     | always                |
//! | `forward_schema`          | tuple(tuple(hidden states), map{})                    | if a uid was asked    |
//! | `outputs_schema`          | tuple(hidden states)                                  | if a uid was asked    |
//! | `keyword_names`           | tuple()                                               | if a uid was asked    |
//! | `inference_schema`        | tuple(tuple(hidden states, prompts, hypo_ids), map{}) | if a uid was asked    |
//! | `codecs`, `implementation`, `torch_dtype`, `quant_type` | ours; unknown to Petals | if set                |
//!
//! Clients read the codec to send from the first forward descriptor, compare the number of
//! arguments, and take the outputs by their schema. Source: Petals main, `server/handler.py`;
//! descriptors: hivemind 1.1.12, `utils/tensor_descr.py`. Golden: `petals.rpc_info.*`.

use crate::{
    compression::Compression,
    error::DecodeError,
    limits::{MAX_POSITIONAL_ARGS, MAX_RPC_INFO_BYTES, MAX_TENSOR_DIMS},
    metadata,
    msgpack::{self, EXT_DESCRIPTOR, Fields, Value},
    tensor::DType,
};

/// The sequence length in the schemas of every Petals server; clients do not hold themselves to it.
pub const REFERENCE_SCHEMA_LENGTH: usize = 2048;

const DESCRIPTOR: &str = "tensor descriptor";
const TORCH: &str = "torch.";

/// One tensor of a schema: hivemind's `BatchTensorDescriptor`, msgpack extension 0x51.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorDescriptor {
    /// Length of each axis; `None` for the batch.
    pub size: Vec<Option<u64>>,
    /// Element type that the server works in.
    pub dtype: DType,
    /// Codec that the server wants or gives.
    pub compression: Compression,
    /// Torch's autograd flag; false in all of Petals.
    pub requires_grad: bool,
}

/// The tensors of a span's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schemas {
    /// Arguments of forward: hidden states.
    pub forward: Vec<TensorDescriptor>,
    /// Results of forward: hidden states.
    pub outputs: Vec<TensorDescriptor>,
    /// Arguments of an inference step: hidden states, prompts, hypo_ids.
    pub inference: Vec<TensorDescriptor>,
}

/// The whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerRpcInfo {
    /// Version text, such as `2.3.0.dev2`; advisory.
    pub version: Option<String>,
    /// Whether the server's DHT node does not answer requests.
    pub dht_client_mode: bool,
    /// Tokens of one block that the free cache memory holds, keys and values together.
    pub cache_tokens_available: u64,
    /// Only if a uid was asked about.
    pub schemas: Option<Schemas>,
    /// Ours: names of the codecs that the server decodes and encodes.
    pub codecs: Vec<String>,
    /// Ours: program and version, such as `block-server/0.1.0`.
    pub implementation: Option<String>,
    /// Ours: element type of the residual stream, as in the server's record.
    pub torch_dtype: Option<String>,
    /// Ours: quantization of the weights, as in the server's record.
    pub quant_type: Option<String>,
}

impl Schemas {
    /// The schemas of a span with `hidden` features that works in `dtype` and wants `compression`.
    /// `length` is nominal, see [`REFERENCE_SCHEMA_LENGTH`].
    #[must_use]
    pub fn for_span(dtype: DType, hidden: usize, length: usize, compression: Compression) -> Self {
        let sizes = [1, length, hidden].map(|axis| Some(crate::error::saturating_u64(axis)));
        let hidden_states = TensorDescriptor {
            size: std::iter::once(None).chain(sizes).collect(),
            dtype,
            compression,
            requires_grad: false,
        };
        let batch_only = |dtype| TensorDescriptor {
            size: vec![None],
            dtype,
            compression: Compression::None,
            requires_grad: false,
        };
        Self {
            forward: vec![hidden_states.clone()],
            outputs: vec![hidden_states.clone()],
            inference: vec![hidden_states, batch_only(dtype), batch_only(DType::I64)],
        }
    }
}

impl ServerRpcInfo {
    /// The msgpack map.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = vec![
            (
                "version",
                msgpack::nullable(self.version.as_deref(), Value::from),
            ),
            ("dht_client_mode", self.dht_client_mode.into()),
            ("cache_tokens_available", self.cache_tokens_available.into()),
        ];
        if let Some(schemas) = &self.schemas {
            entries.extend([
                ("forward_schema", arguments_value(&schemas.forward)),
                ("outputs_schema", descriptors_value(&schemas.outputs)),
                ("keyword_names", msgpack::tuple(Vec::new())),
                ("inference_schema", arguments_value(&schemas.inference)),
            ]);
        }
        if !self.codecs.is_empty() {
            entries.push(("codecs", msgpack::text_tuple(&self.codecs)));
        }
        for (key, value) in [
            ("implementation", &self.implementation),
            ("torch_dtype", &self.torch_dtype),
            ("quant_type", &self.quant_type),
        ] {
            entries.extend(value.as_deref().map(|text| (key, text.into())));
        }
        msgpack::encode(&Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        ))
    }

    /// Reads the msgpack map. `schemas` is there only if all of them are.
    ///
    /// # Errors
    /// `WrongType`, `Malformed`, `Missing`, `Unsupported` (dtype or codec) or `LimitExceeded`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let map = msgpack::decode(bytes, "rpc_info", MAX_RPC_INFO_BYTES)?;
        let fields = Fields::of(&map, "rpc_info")?;
        let forward = fields.optional("forward_schema", arguments)?;
        let outputs = fields.optional("outputs_schema", descriptors)?;
        let inference = fields.optional("inference_schema", arguments)?;
        let schemas = match (forward, outputs, inference) {
            (Some(forward), Some(outputs), Some(inference)) => Some(Schemas {
                forward,
                outputs,
                inference,
            }),
            _ => None,
        };
        Ok(Self {
            version: fields.optional("version", msgpack::name)?,
            dht_client_mode: fields.required("dht_client_mode", msgpack::flag)?,
            cache_tokens_available: fields.required("cache_tokens_available", msgpack::unsigned)?,
            schemas,
            codecs: fields
                .optional("codecs", msgpack::names)?
                .unwrap_or_default(),
            implementation: fields.optional("implementation", msgpack::name)?,
            torch_dtype: fields.optional("torch_dtype", msgpack::name)?,
            quant_type: fields.optional("quant_type", msgpack::name)?,
        })
    }
}

impl TensorDescriptor {
    /// The extension value. All of Python's keys are written: it reconstructs from each.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let size = self
            .size
            .iter()
            .map(|axis| msgpack::nullable(*axis, Value::from));
        let body = msgpack::map([
            ("size", msgpack::tuple(size.collect())),
            ("dtype", format!("{TORCH}{}", self.dtype.name()).into()),
            ("layout", "torch.strided".into()),
            ("requires_grad", self.requires_grad.into()),
            ("pin_memory", false.into()),
            ("compression", self.compression.number().into()),
            ("device_type", Value::Nil),
            ("device_index", Value::Nil),
        ]);
        Value::Ext(EXT_DESCRIPTOR, msgpack::encode(&body))
    }

    /// Reads the extension value; layout, pinning and device mean nothing to us.
    ///
    /// # Errors
    /// `WrongType`, `Malformed`, `Missing`, `Unsupported` or `LimitExceeded`.
    pub fn from_value(value: &Value) -> Result<Self, DecodeError> {
        let Value::Ext(EXT_DESCRIPTOR, body) = value else {
            return Err(DecodeError::WrongType {
                what: DESCRIPTOR,
                expected: "extension 0x51",
            });
        };
        let map = msgpack::decode(body, DESCRIPTOR, MAX_RPC_INFO_BYTES)?;
        let fields = Fields::of(&map, DESCRIPTOR)?;
        let size = fields.required("size", msgpack::sequence)?;
        DecodeError::check_len("dimensions of a descriptor", size.len(), MAX_TENSOR_DIMS)?;
        let axis = |value: &Value| match value.is_nil() {
            true => Ok(None),
            false => msgpack::unsigned(value, "size").map(Some),
        };
        Ok(Self {
            size: size.iter().map(axis).collect::<Result<_, _>>()?,
            dtype: fields.required("dtype", dtype)?,
            compression: fields.required("compression", metadata::codec)?,
            requires_grad: fields.required("requires_grad", msgpack::flag)?,
        })
    }
}

fn dtype(value: &Value, what: &'static str) -> Result<DType, DecodeError> {
    let name = msgpack::text(value, what)?;
    name.strip_prefix(TORCH)
        .filter(|bare| !bare.is_empty())
        .and_then(DType::from_name)
        .ok_or_else(|| DecodeError::unsupported(what, name))
}

/// `(args, kwargs)` without kwargs.
fn arguments_value(args: &[TensorDescriptor]) -> Value {
    msgpack::tuple(vec![descriptors_value(args), Value::Map(Vec::new())])
}

fn arguments(value: &Value, what: &'static str) -> Result<Vec<TensorDescriptor>, DecodeError> {
    let pair = msgpack::sequence(value, what)?;
    let [args, _kwargs] = pair.as_slice() else {
        return Err(DecodeError::malformed(
            what,
            "not a pair of args and kwargs",
        ));
    };
    descriptors(args, what)
}

fn descriptors_value(descriptors: &[TensorDescriptor]) -> Value {
    msgpack::tuple(descriptors.iter().map(TensorDescriptor::to_value).collect())
}

fn descriptors(value: &Value, what: &'static str) -> Result<Vec<TensorDescriptor>, DecodeError> {
    let items = msgpack::sequence(value, what)?;
    DecodeError::check_len(what, items.len(), MAX_POSITIONAL_ARGS)?;
    items.iter().map(TensorDescriptor::from_value).collect()
}

#[cfg(test)]
mod tests;
