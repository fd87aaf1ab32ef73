//! Which model, and which part of it.

use block_model::{KvDType, Quant, SpanDType};
use block_program::{Failure, ModelName};

use crate::cli::{Blocks, Cli};

/// Which model, and which part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelChoice {
    /// Hub name, folder or file, as given.
    pub name: String,
    /// Whether `name` is a folder or file of this machine.
    pub is_local: bool,
    /// Branch, tag or commit on the hub.
    pub revision: String,
    /// Blocks asked for.
    pub blocks: Blocks,
    /// Dtype of the blocks; `None` = Petals' automatic choice.
    pub dtype: Option<SpanDType>,
    /// Format of the weights.
    pub quant: Quant,
    /// Format of keys and values; `None` follows the dtype.
    pub kv_dtype: Option<KvDType>,
}

impl ModelChoice {
    /// Checks the flags of the model.
    ///
    /// # Errors
    /// No model, no such dtype or format (exit 2), or no such folder (66).
    pub(super) fn from_cli(cli: &Cli) -> Result<Self, Failure> {
        // A positional model beats BLOCK_SERVER_MODEL; two different ones on one line are a mistake.
        let name = cli
            .serving
            .model
            .positional_model
            .as_ref()
            .or(cli.serving.model.model.as_ref());
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(Failure::usage("no model given").hint(
                "block-server --model M, with a hub name, a local folder or a GGUF file as M",
            ));
        };
        let ModelName { name, is_local } = ModelName::parse(name)?;
        let dtype = match cli.serving.model.dtype.as_str() {
            "auto" => None,
            name => Some(SpanDType::parse(name).ok_or_else(|| {
                Failure::usage(format!(
                    "--dtype accepts auto, bf16, f16 or f32, got {name}"
                ))
                .hint("Petals' names float32, bfloat16 and float16 are accepted too")
            })?),
        };
        let quant = &cli.serving.model.quant;
        let quant = Quant::parse(quant).ok_or_else(|| {
            Failure::usage(format!(
                "--quant accepts none, int8, int4 or nf4, got {quant}"
            ))
            .hint("leave the flag out to serve the checkpoint's own weights")
        })?;
        let kv_dtype = match cli.serving.model.kv_dtype.as_str() {
            "auto" => None,
            name => Some(KvDType::parse(name).ok_or_else(|| {
                Failure::usage(format!(
                    "--kv-dtype accepts auto, f32, bf16 or int8, got {name}"
                ))
                .hint("int8 takes about half the memory of bf16")
            })?),
        };
        Ok(Self {
            name,
            is_local,
            revision: cli.serving.model.revision.clone(),
            blocks: cli.serving.model.blocks.clone(),
            dtype,
            quant,
            kv_dtype,
        })
    }

    /// The name by itself.
    pub(crate) fn model_name(&self) -> ModelName {
        ModelName {
            name: self.name.clone(),
            is_local: self.is_local,
        }
    }
}
