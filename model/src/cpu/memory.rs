//! What a span will take, known before it is loaded.

use super::options::CpuOptions;
use super::packing::{self, Joined};
use crate::config::ModelConfig;
use crate::families;
use crate::kernels::attention::PAGE_TOKENS;
use crate::source::StoredWeights;

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
    /// What a span of this model will take. If nothing says the type of its weights, they are taken for f32 and may turn
    /// out smaller.
    pub fn memory(&self, config: &ModelConfig, weights: &StoredWeights) -> CpuMemory {
        let layout = self.page_layout(config);
        CpuMemory {
            block_bytes: (0..config.num_blocks)
                .map(|number| self.block_bytes(config, number, weights))
                .max()
                .unwrap_or(0),
            kv_bytes_per_token: layout.bytes_per_token(),
            kv_page_tokens: PAGE_TOKENS,
        }
    }

    /// Weights of block `number`, packed, bytes; see [`CpuOptions::memory`].
    pub fn block_bytes(&self, config: &ModelConfig, number: usize, weights: &StoredWeights) -> u64 {
        let format = |joined: &Joined<'_>| {
            let names = joined.parts.iter().map(|(part, _)| part.weight());
            self.joined_format(names.map(|name| weights.of(&name, config)))
        };
        packing::block_bytes(&families::block(config, number), format) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::contract::BlockSpan;
    use crate::cpu::CpuSpan;
    use crate::dtype::SpanDType;
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

    /// fable-cut2 in every kind of GGUF.
    fn gguf_sources() -> Vec<ModelSource> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fable-cut2");
        let files = std::fs::read_dir(folder).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let files = files.filter(|path| crate::is_gguf_file(path));
        files.map(|path| ModelSource::gguf(path).unwrap()).collect()
    }

    #[test]
    fn a_loaded_span_of_any_family_takes_what_was_said() {
        let sources = sources().into_iter().map(|source| (source, 1..3));
        let gguf = gguf_sources().into_iter().map(|source| (source, 0..2));
        for (source, blocks) in sources.chain(gguf) {
            let weights = source.stored_weights().unwrap();
            for quant in Quant::ALL {
                let options = CpuOptions {
                    quant,
                    ..CpuOptions::new(SpanDType::BF16)
                };
                let memory = options.memory(source.config(), &weights);
                let span = CpuSpan::load(&source, blocks.clone(), &options).unwrap();
                let held = span.description();
                let what = format!("{} in {quant}", source.name());
                let block_bytes = |number| options.block_bytes(source.config(), number, &weights);
                let bytes: Vec<u64> = blocks.clone().map(block_bytes).collect();
                assert_eq!(held.weight_bytes, bytes.iter().sum::<u64>(), "{what}");
                assert!(bytes.into_iter().all(|bytes| bytes <= memory.block_bytes));
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
        let weights = source.stored_weights().unwrap();
        for quant in Quant::ALL {
            for kv_dtype in KvDType::ALL {
                let options = CpuOptions {
                    quant,
                    kv_dtype: Some(kv_dtype),
                    ..CpuOptions::new(SpanDType::BF16)
                };
                let memory = options.memory(source.config(), &weights);
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
