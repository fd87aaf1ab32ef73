//! What a client keeps at home, by the tensors' names.

use super::layout::{NormKind, NormLayout};
use crate::config::ModelConfig;

/// Embeddings, final norm and head.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ends {
    /// `[vocab, hidden]`.
    pub(crate) embeddings: String,
    /// Norm between embeddings and the first block.
    pub(crate) embedding_norm: Option<NormLayout>,
    pub(crate) norm: NormLayout,
    /// `[vocab, hidden]`; the embeddings again if the head is tied.
    pub(crate) head: String,
}

impl Ends {
    /// Names as in transformers' `LlamaForCausalLM`.
    pub(crate) fn llama(config: &ModelConfig, norm: NormKind) -> Self {
        Self::named(config, "model.embed_tokens", "model.norm", norm)
    }

    pub(crate) fn named(
        config: &ModelConfig,
        embeddings: &str,
        norm: &str,
        kind: NormKind,
    ) -> Self {
        let head = if config.tied_head {
            embeddings
        } else {
            "lm_head"
        };
        Self {
            embeddings: format!("{embeddings}.weight"),
            embedding_norm: None,
            norm: NormLayout::new(kind, norm.to_owned(), config.hidden),
            head: format!("{head}.weight"),
        }
    }

    /// Names of all tensors, each once.
    pub(crate) fn tensor_names(&self) -> Vec<String> {
        let mut names = vec![self.embeddings.clone()];
        if self.head != self.embeddings {
            names.push(self.head.clone());
        }
        for norm in self.embedding_norm.iter().chain([&self.norm]) {
            names.push(norm.weight());
            names.extend(norm.bias());
        }
        names
    }
}
