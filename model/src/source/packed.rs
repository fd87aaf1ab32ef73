//! Packed safetensors as published on the hub: which packing `config.json` names, and how it is read.
//!
//! - [`Packing`]: what `quantization_config` says
//! - `grouped`: GPTQ and AWQ, 4-bit integers with a scale and a zero for each group of inputs
//! - `fp8`: 8-bit floats with a scale for a tensor, a row or a tile

mod fp8;
mod grouped;

use serde::Deserialize;
use serde_json::Value;

use super::stored::Stored;
use crate::config::ConfigError;
use crate::dtype::SpanDType;
use crate::kernels::format::Format;

pub(super) use fp8::{Fp8Rows, Scales};
pub(super) use grouped::{GroupedRows, Groups, IN_A_WORD, Layout};

/// How a checkpoint's matrices are packed; some of them may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Not at all.
    None,
    /// 4-bit integers in groups of so many inputs; one group for all if `None`.
    Grouped {
        layout: Layout,
        group: Option<usize>,
        /// Whether inputs of a group may be anywhere, as GPTQ's `desc_act` has it.
        is_scattered: bool,
    },
    /// 8-bit floats; where scales are for tiles, these have so many rows and columns.
    Fp8 { tile: [usize; 2] },
}

impl Packing {
    /// Reads `quantization_config` out of the text of `config.json`.
    ///
    /// # Errors
    /// [`ConfigError::Malformed`]; [`ConfigError::Invalid`] for a method or a choice within it that is not supported.
    pub(crate) fn parse(config: &str) -> Result<Self, ConfigError> {
        let config: RawConfig = serde_json::from_str(config).map_err(ConfigError::Malformed)?;
        match config.quantization_config.or(config.compression_config) {
            Some(raw) => raw.packing(),
            None => Ok(Self::None),
        }
    }

    /// Names of the tensors beside `stem.weight`, or instead of it; those instead of it first.
    pub(super) fn parts(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Grouped { .. } => &["qweight", "qzeros", "scales", "g_idx"],
            Self::Fp8 { .. } => &["weight_scale", "weight_scale_inv"],
        }
    }

    /// How a matrix is stored that is packed; `None` if as other floats.
    pub(super) fn stored(self) -> Option<Stored> {
        match self {
            Self::Grouped {
                is_scattered: false,
                ..
            } => Some(Stored::Integers(Format::Int4Min)),
            Self::Fp8 { .. } => Some(Stored::Floats(FP8_UNPACKED)),
            Self::None | Self::Grouped { .. } => None,
        }
    }

    /// Bytes of a matrix `[outputs, inputs]` that is packed, with its scales of `dtype`.
    pub(super) fn bytes(self, [outputs, inputs]: [usize; 2], dtype: SpanDType) -> u64 {
        let [outputs, inputs] = [outputs as u64, inputs as u64];
        let of_scale = dtype.size_bytes() as u64;
        match self {
            Self::None => outputs * inputs * of_scale,
            Self::Grouped { layout, group, .. } => {
                let groups = inputs.div_ceil(group.map_or(inputs, |group| group as u64).max(1));
                let list = match layout {
                    Layout::Gptq { .. } => inputs * size_of::<i32>() as u64,
                    Layout::Awq => 0,
                };
                outputs * inputs / 2 + groups * outputs * of_scale + groups * outputs / 2 + list
            }
            Self::Fp8 { tile } => {
                let [rows, columns] = tile.map(|size| size as u64);
                let scales = outputs.div_ceil(rows) * inputs.div_ceil(columns);
                outputs * inputs + scales * size_of::<f32>() as u64
            }
        }
    }

    /// The names that a checkpoint may have of a tensor: its own, and those of its parts if it may be packed.
    pub(super) fn stored_names(self, tensor: &str) -> impl Iterator<Item = String> {
        let parts = if tensor.ends_with("weight") {
            self.parts()
        } else {
            &[]
        };
        let parts = parts.iter().map(|name| part(tensor, name));
        std::iter::once(tensor.to_owned()).chain(parts)
    }
}

/// The name of what is stored beside, or instead of, a weight.
pub(super) fn part(weight: &str, name: &str) -> String {
    let stem = weight.strip_suffix("weight").unwrap_or(weight);
    format!("{stem}{name}")
}

#[derive(Deserialize)]
struct RawConfig {
    quantization_config: Option<RawPacking>,
    /// Where compressed-tensors wrote it first.
    compression_config: Option<RawPacking>,
}

/// `quantization_config`, of all methods together.
#[derive(Deserialize)]
struct RawPacking {
    quant_method: Option<String>,
    #[serde(alias = "w_bit")]
    bits: Option<u64>,
    #[serde(alias = "q_group_size")]
    group_size: Option<i64>,
    /// GPTQ: whether inputs are in the order of their weight, and then in groups.
    desc_act: Option<bool>,
    /// GPTQ: whether zeros are stored one less.
    checkpoint_format: Option<String>,
    /// AWQ: the order of the integers.
    version: Option<String>,
    zero_point: Option<bool>,
    /// FP8: rows and columns of a tile.
    weight_block_size: Option<[usize; 2]>,
    /// compressed-tensors: what is packed how.
    format: Option<String>,
    config_groups: Option<serde_json::Map<String, Value>>,
}

impl RawPacking {
    fn packing(&self) -> Result<Packing, ConfigError> {
        match self.quant_method.as_deref() {
            Some("gptq") => {
                let zero_offset = match self.checkpoint_format.as_deref() {
                    None | Some("gptq") => 1,
                    Some("gptq_v2") => 0,
                    Some(other) => {
                        return Err(invalid(format!(
                            "checkpoint_format {other:?}; supported: gptq, gptq_v2"
                        )));
                    }
                };
                self.grouped(Layout::Gptq { zero_offset })
            }
            Some("awq") => {
                let version = self.version.as_deref().unwrap_or("gemm");
                if !version.eq_ignore_ascii_case("gemm") {
                    return Err(invalid(format!("AWQ version {version:?}; supported: gemm")));
                }
                if self.zero_point == Some(false) {
                    return Err(invalid(
                        "AWQ without zero_point; supported: with it".to_owned(),
                    ));
                }
                self.grouped(Layout::Awq)
            }
            Some("fp8" | "fbgemm_fp8") => self.fp8(self.weight_block_size),
            Some("compressed-tensors") => self.compressed_tensors(),
            Some(other) => Err(invalid(format!(
                "method {other:?} is not supported; {SUPPORTED}"
            ))),
            None => Err(invalid(format!("names no quant_method; {SUPPORTED}"))),
        }
    }

    fn grouped(&self, layout: Layout) -> Result<Packing, ConfigError> {
        if self.bits != Some(4) {
            let bits = self
                .bits
                .map_or_else(|| "unknown".to_owned(), |bits| bits.to_string());
            return Err(invalid(format!("{bits} bits; supported: 4")));
        }
        let group = match self.group_size.unwrap_or(-1) {
            -1 => None,
            size => {
                let size = usize::try_from(size).ok();
                let size = size.filter(|size| GROUPS.contains(size) && size.is_multiple_of(32));
                Some(size.ok_or_else(|| {
                    let found = self.group_size.unwrap_or(-1);
                    invalid(format!(
                        "group_size {found}; supported: -1, 32, 64, 96, 128"
                    ))
                })?)
            }
        };
        Ok(Packing::Grouped {
            layout,
            group,
            is_scattered: self.desc_act == Some(true),
        })
    }

    fn fp8(&self, tile: Option<[usize; 2]>) -> Result<Packing, ConfigError> {
        let tile = tile.unwrap_or([128, 128]);
        if tile.contains(&0) {
            return Err(invalid(format!("weight_block_size {tile:?}")));
        }
        Ok(Packing::Fp8 { tile })
    }

    /// Only 8-bit floats of those that this library can pack.
    fn compressed_tensors(&self) -> Result<Packing, ConfigError> {
        let groups = || self.config_groups.iter().flat_map(|groups| groups.values());
        let is_fp8 = |group: &Value| {
            let weights = &group["weights"];
            weights["type"] == "float" && weights["num_bits"] == 8
        };
        if groups().next().is_none() || !groups().all(is_fp8) {
            let format = self.format.as_deref().unwrap_or("unknown");
            return Err(invalid(format!(
                "compressed-tensors of format {format:?}; supported of that method: 8-bit floats; {SUPPORTED}"
            )));
        }
        let tiles = groups().find_map(|group| {
            serde_json::from_value(group["weights"]["block_structure"].clone()).ok()
        });
        self.fp8(tiles)
    }
}

fn invalid(reason: String) -> ConfigError {
    ConfigError::Invalid {
        field: "quantization_config",
        reason,
    }
}

const SUPPORTED: &str =
    "supported: gptq and awq with 4 bits, fp8, fbgemm_fp8, compressed-tensors with 8-bit floats";

/// Type to which 8-bit floats are unpacked: that of the models that they are made of.
pub(super) const FP8_UNPACKED: SpanDType = SpanDType::BF16;

/// Inputs of a group; below, packed formats have no room for the scales.
const GROUPS: std::ops::RangeInclusive<usize> = 32..=128;

#[cfg(test)]
mod tests {
    use super::{Layout, Packing};

    fn parse(fields: &str) -> Result<Packing, String> {
        let config = format!(r#"{{"quantization_config": {fields}}}"#);
        Packing::parse(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn published_configurations_are_understood() {
        assert_eq!(Packing::parse("{}").unwrap(), Packing::None);
        assert_eq!(
            parse(r#"{"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": true}"#),
            Ok(Packing::Grouped {
                layout: Layout::Gptq { zero_offset: 1 },
                group: Some(128),
                is_scattered: true,
            })
        );
        assert_eq!(
            parse(
                r#"{"quant_method": "gptq", "bits": 4, "group_size": -1, "checkpoint_format": "gptq_v2"}"#
            ),
            Ok(Packing::Grouped {
                layout: Layout::Gptq { zero_offset: 0 },
                group: None,
                is_scattered: false,
            })
        );
        assert_eq!(
            parse(r#"{"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "version": "GEMM"}"#),
            Ok(Packing::Grouped {
                layout: Layout::Awq,
                group: Some(64),
                is_scattered: false,
            })
        );
        assert_eq!(
            parse(r#"{"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [64, 128]}"#),
            Ok(Packing::Fp8 { tile: [64, 128] })
        );
        let weights = r#"{"num_bits": 8, "type": "float", "strategy": "channel"}"#;
        assert_eq!(
            parse(&format!(
                r#"{{"quant_method": "compressed-tensors", "format": "float-quantized",
                    "config_groups": {{"group_0": {{"weights": {weights}}}}}}}"#
            )),
            Ok(Packing::Fp8 { tile: [128, 128] })
        );
    }

    #[test]
    fn what_is_not_supported_is_named_beside_what_is() {
        for (fields, named) in [
            (
                r#"{"quant_method": "bitsandbytes", "load_in_4bit": true}"#,
                "bitsandbytes",
            ),
            (r#"{"quant_method": "hqq"}"#, "gptq and awq"),
            (r#"{"bits": 4}"#, "quant_method"),
            (r#"{"quant_method": "gptq", "bits": 3}"#, "3 bits"),
            (
                r#"{"quant_method": "gptq", "bits": 4, "group_size": 16}"#,
                "group_size 16",
            ),
            (
                r#"{"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}"#,
                "marlin",
            ),
            (
                r#"{"quant_method": "awq", "bits": 4, "version": "gemv"}"#,
                "gemv",
            ),
            (
                r#"{"quant_method": "awq", "bits": 4, "zero_point": false}"#,
                "zero_point",
            ),
            (
                r#"{"quant_method": "fp8", "weight_block_size": [0, 128]}"#,
                "weight_block_size",
            ),
            (
                r#"{"quant_method": "compressed-tensors", "format": "pack-quantized"}"#,
                "pack-quantized",
            ),
        ] {
            let error = parse(fields).unwrap_err();
            assert!(
                error.contains("quantization_config") && error.contains(named),
                "{error}"
            );
        }
    }
}
