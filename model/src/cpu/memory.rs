//! What a span will take, known before it is loaded.

use super::options::CpuOptions;
use super::packing;
use crate::config::ModelConfig;
use crate::dtype::SpanDType;
use crate::families;
use crate::kernels::attention::PAGE_TOKENS;

/// Memory of a span with certain options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuMemory {
    /// Weights of one block, packed, bytes; where blocks differ, of the largest.
    pub block_bytes: u64,
    /// Keys and values of one token in one block, bytes per batch row; pages rounded up.
    pub kv_bytes_per_token: usize,
    /// Tokens of a page of keys and values.
    pub kv_page_tokens: usize,
}

impl CpuOptions {
    /// What a span of this model will take. A configuration that does not say the type of its weights is read as f32, so
    /// the weights may then turn out smaller.
    pub fn memory(&self, config: &ModelConfig) -> CpuMemory {
        let layout = self.page_layout(config);
        CpuMemory {
            block_bytes: self.block_bytes(config, config.largest_block()),
            kv_bytes_per_token: layout.bytes_per_token(),
            kv_page_tokens: PAGE_TOKENS,
        }
    }

    /// Weights of block `number`, packed, bytes; see [`CpuOptions::memory`].
    pub fn block_bytes(&self, config: &ModelConfig, number: usize) -> u64 {
        let format = self.format(config.dtype.unwrap_or(SpanDType::F32));
        packing::block_bytes(&families::block(config, number), format) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::contract::BlockSpan;
    use crate::cpu::CpuSpan;
    use crate::quant::{KvDType, Quant};
    use crate::source::ModelSource;

    /// The fixtures of all families.
    fn sources() -> Vec<ModelSource> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let folders = std::fs::read_dir(fixtures).unwrap();
        let folders = folders.map(|entry| entry.unwrap().path());
        let models = folders.filter(|path| path.join("config.json").exists());
        models
            .map(|path| ModelSource::directory(path).unwrap())
            .collect()
    }

    #[test]
    fn a_loaded_span_of_any_family_takes_what_was_said() {
        for source in sources() {
            for quant in Quant::ALL {
                let options = CpuOptions {
                    quant,
                    ..CpuOptions::new(SpanDType::BF16)
                };
                let memory = options.memory(source.config());
                let span = CpuSpan::load(&source, 1..3, &options).unwrap();
                let held = span.description();
                let what = format!("{} in {quant}", source.name());
                let blocks = [1, 2].map(|number| options.block_bytes(source.config(), number));
                assert_eq!(held.weight_bytes, blocks.iter().sum::<u64>(), "{what}");
                assert!(blocks.into_iter().all(|bytes| bytes <= memory.block_bytes));
                assert_eq!(
                    held.kv_bytes_per_token_per_block, memory.kv_bytes_per_token,
                    "{what}"
                );
            }
        }
    }

    #[test]
    fn every_pair_of_formats_takes_what_was_said() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        let source = ModelSource::directory(fixture).unwrap();
        for quant in Quant::ALL {
            for kv_dtype in KvDType::ALL {
                let options = CpuOptions {
                    quant,
                    kv_dtype: Some(kv_dtype),
                    ..CpuOptions::new(SpanDType::BF16)
                };
                let memory = options.memory(source.config());
                let span = CpuSpan::load(&source, 1..3, &options).unwrap();
                let held = span.description();
                let kv = (memory.kv_bytes_per_token, memory.kv_page_tokens);
                assert_eq!(held.weight_bytes, 2 * memory.block_bytes, "{quant}");
                assert_eq!(
                    (held.kv_bytes_per_token_per_block, held.kv_page_tokens),
                    kv,
                    "{kv_dtype}"
                );
            }
        }
    }
}
