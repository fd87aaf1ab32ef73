//! A Llama block from its tensors.

use crate::candle::attention::{Attention, MAX_SCORE_BYTES};
use crate::candle::block::Block;
use crate::candle::mlp::GatedMlp;
use crate::candle::norm::RmsNorm;
use crate::candle::weights::WeightReader;
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::families::llama::{ATTENTION, MLP, NORMS, prefixed, weight};

pub(super) fn load_block(
    config: &ModelConfig,
    block: usize,
    reader: &WeightReader<'_>,
) -> Result<Block, LoadError> {
    let (hidden, ffn) = (config.hidden, config.ffn);
    let query_width = config.heads * config.head_dim;
    let key_width = config.kv_heads * config.head_dim;
    let norm = |name: &str| {
        let tensor = reader.tensor(&weight(block, name), &[hidden])?;
        Ok::<_, LoadError>(RmsNorm::new(tensor, config.norm_eps))
    };
    let attention =
        |name: &str, shape| reader.linear(&prefixed(block, name), shape, config.attention_bias);
    let mlp = |name: &str, shape| reader.linear(&prefixed(block, name), shape, config.mlp_bias);
    let [attention_norm, mlp_norm] = NORMS;
    let [query, key, value, output] = ATTENTION;
    let [gate, up, down] = MLP;
    Ok(Block {
        attention_norm: norm(attention_norm)?,
        attention: Attention {
            query: attention(query, [query_width, hidden])?,
            key: attention(key, [key_width, hidden])?,
            value: attention(value, [key_width, hidden])?,
            output: attention(output, [hidden, query_width])?,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            max_score_bytes: MAX_SCORE_BYTES,
        },
        mlp_norm: norm(mlp_norm)?,
        mlp: GatedMlp {
            gate: mlp(gate, [ffn, hidden])?,
            up: mlp(up, [ffn, hidden])?,
            down: mlp(down, [hidden, ffn])?,
        },
    })
}
