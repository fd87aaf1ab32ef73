//! The families of models.

use std::fmt;

/// Which implementation of a block a model needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// RMSNorm, RoPE, grouped-query attention, SwiGLU.
    Llama,
    /// Llama with a sliding window.
    Mistral,
    /// Mistral with several MLPs, of which each token uses two.
    Mixtral,
    /// Llama with biases on queries, keys and values.
    Qwen2,
    /// Llama with norms on queries and keys.
    Qwen3,
    /// Qwen3 with many small MLPs, of which each token uses some.
    Qwen3Moe,
    /// Soft caps, alternating windows, norms before and after each part.
    Gemma2,
    /// Gemma 2 with norms on queries and keys instead of caps, and two rotary bases.
    Gemma3,
    /// Llama with joined projections.
    Phi3,
    /// Attention and MLP side by side, LayerNorm.
    Falcon,
    /// ALiBi, LayerNorm, biases everywhere.
    Bloom,
}

impl Family {
    /// Every supported family with the architecture name that checkpoints carry.
    pub const ARCHITECTURES: &'static [(&'static str, Self)] = &[
        ("LlamaForCausalLM", Self::Llama),
        ("MistralForCausalLM", Self::Mistral),
        ("MixtralForCausalLM", Self::Mixtral),
        ("Qwen2ForCausalLM", Self::Qwen2),
        ("Qwen3ForCausalLM", Self::Qwen3),
        ("Qwen3MoeForCausalLM", Self::Qwen3Moe),
        ("Gemma2ForCausalLM", Self::Gemma2),
        ("Gemma3ForCausalLM", Self::Gemma3),
        ("Gemma3ForConditionalGeneration", Self::Gemma3),
        ("Phi3ForCausalLM", Self::Phi3),
        ("FalconForCausalLM", Self::Falcon),
        ("BloomForCausalLM", Self::Bloom),
    ];

    /// The family's `model_type` in `config.json`.
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Mixtral => "mixtral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3_moe",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
            Self::Phi3 => "phi3",
            Self::Falcon => "falcon",
            Self::Bloom => "bloom",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.model_type())
    }
}
