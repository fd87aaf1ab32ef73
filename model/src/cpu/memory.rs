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
    /// Weights of one block, packed, bytes.
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
            block_bytes: self.block_bytes(config),
            kv_bytes_per_token: layout.bytes_per_token(),
            kv_page_tokens: PAGE_TOKENS,
        }
    }

    /// Where blocks differ, of the largest.
    fn block_bytes(&self, config: &ModelConfig) -> u64 {
        let format = self.format(config.dtype.unwrap_or(SpanDType::F32));
        let block = families::block(config, config.largest_block());
        packing::block_bytes(&block, format) as u64
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

    #[test]
    fn a_loaded_span_takes_what_was_said() {
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
