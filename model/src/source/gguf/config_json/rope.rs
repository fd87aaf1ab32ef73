//! Rotary positions: bases, and how they are stretched.

use serde_json::{Value as Json, json};

use super::{Fields, Reader};
use crate::error::LoadError;

impl Reader<'_> {
    /// Sets the rotary base, the share of a head that turns, and the stretching.
    pub(super) fn rope(&self, head_dim: u64, fields: &mut Fields) -> Result<(), LoadError> {
        fields.set("rope_theta", self.number("rope.freq_base"));
        let dims = self
            .size("rope.dimension_count")
            .filter(|dims| *dims < head_dim);
        fields.set(
            "partial_rotary_factor",
            dims.map(|dims| dims as f64 / head_dim as f64),
        );
        let original = self.size("rope.scaling.original_context_length");
        fields.set("rope_scaling", self.scaling(original)?);
        Ok(())
    }

    fn scaling(&self, original: Option<u64>) -> Result<Option<Json>, LoadError> {
        let long = self.list("rope_factors_long.weight")?;
        let short = self.list("rope_factors_short.weight")?;
        if let (Some(long), Some(short)) = (long, short) {
            return Ok(Some(json!({
                "rope_type": "longrope",
                "long_factor": long,
                "short_factor": short,
                "original_max_position_embeddings": original,
                "attention_factor": self.number("rope.scaling.attn_factor"),
            })));
        }
        // Llama 3 stretches each frequency by its own factor, at all positions alike.
        if let Some(factors) = self.list("rope_freqs.weight")? {
            return Ok(Some(json!({
                "rope_type": "longrope",
                "long_factor": factors,
                "short_factor": factors,
                "factor": 1.0,
                "attention_factor": 1.0,
            })));
        }
        let old = self.number("rope.scale_linear");
        let factor = self
            .number("rope.scaling.factor")
            .or(old)
            .filter(|factor| *factor > 0.0);
        let kind = self.file.text(&self.key("rope.scaling.type"));
        Ok(match (kind, factor) {
            (Some("linear") | None, Some(factor)) => {
                Some(json!({"rope_type": "linear", "factor": factor}))
            }
            (Some("yarn"), factor) => Some(json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original,
                "attention_factor": self.number("rope.scaling.yarn_attn_factor"),
                "beta_fast": self.number("rope.scaling.yarn_beta_fast"),
                "beta_slow": self.number("rope.scaling.yarn_beta_slow"),
            })),
            // `longrope` without its factors stretches nothing in llama.cpp either.
            (Some("none" | "linear" | "longrope") | None, _) => None,
            (Some(other), _) => Some(json!({"rope_type": other})),
        })
    }
}
