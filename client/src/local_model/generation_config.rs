//! `generation_config.json`, and what `config.json` says of the same.

use serde::Deserialize;

use crate::sampling::SamplingConfig;

/// The fields that matter to a client; all may be absent.
#[derive(Debug, Default, Deserialize)]
pub(super) struct GenerationFile {
    bos_token_id: Option<OneOrMany>,
    eos_token_id: Option<OneOrMany>,
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl GenerationFile {
    pub(super) fn eos(&self) -> Option<Vec<u32>> {
        self.eos_token_id.as_ref().map(|ids| match ids {
            OneOrMany::One(id) => vec![*id],
            OneOrMany::Many(ids) => ids.clone(),
        })
    }

    pub(super) fn bos(&self) -> Option<u32> {
        self.bos_token_id.as_ref().and_then(|ids| match ids {
            OneOrMany::One(id) => Some(*id),
            OneOrMany::Many(ids) => ids.first().copied(),
        })
    }

    /// Greedy unless the file says `do_sample`, as in transformers; advice that makes no sense is left out.
    pub(super) fn sampling(&self) -> SamplingConfig {
        let plain = SamplingConfig::default();
        let advised = SamplingConfig {
            temperature: if self.do_sample.unwrap_or(false) {
                self.temperature.unwrap_or(plain.temperature)
            } else {
                0.0
            },
            top_k: self.top_k.unwrap_or(plain.top_k),
            top_p: self.top_p.unwrap_or(plain.top_p),
            min_p: self.min_p.unwrap_or(plain.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(plain.repetition_penalty),
            ..plain
        };
        match advised.check() {
            Ok(()) => advised,
            Err(error) => {
                tracing::warn!(%error, "generation_config.json is left out of account");
                SamplingConfig::greedy()
            }
        }
    }
}
