//! The embedded model in one format, reading several texts side by side.

use std::ops::Range;

use anyhow::{Context, Result};
use block_model::{
    BlockSpan, CacheHandle, ClientHead, CpuOptions, CpuSpan, HiddenStates, ModelSource, Row,
    SpanDType,
};
use block_protocol::compression::{decode_f32, encode_f32};
use block_protocol::{Compression, DType};

use super::stories::{STORIES, STORY_TOKENS};
use crate::models;

/// All blocks, and what a client keeps.
pub(super) struct Reader {
    pub(super) head: ClientHead,
    span: CpuSpan,
    servers: usize,
    codec: Compression,
}

/// Texts in the middle of being read.
pub(super) struct Reading<'a> {
    reader: &'a mut Reader,
    hops: Vec<(Range<usize>, CacheHandle)>,
    position: usize,
}

impl Reader {
    pub(super) fn load(options: &CpuOptions) -> Result<Self> {
        let source = ModelSource::directory(models::fable())?;
        let blocks = 0..source.config().num_blocks;
        Ok(Self {
            head: ClientHead::load(&source)?,
            span: CpuSpan::load(&source, blocks, options)?,
            servers: 1,
            codec: Compression::None,
        })
    }

    /// Cuts the model into equal spans with links before, between and behind them that carry `codec`.
    pub(super) fn over_links(mut self, servers: usize, codec: Compression) -> Self {
        self.servers = servers;
        self.codec = codec;
        self
    }

    /// Begins with empty caches; those of a reading before are freed.
    pub(super) fn begin(&mut self) -> Result<Reading<'_>> {
        let blocks = self.span.description().blocks.len();
        let mut hops = Vec::with_capacity(self.servers);
        for server in 0..self.servers {
            let part = server * blocks / self.servers..(server + 1) * blocks / self.servers;
            let cache = self.span.open_cache(part.clone(), STORIES, STORY_TOKENS)?;
            hops.push((part, cache));
        }
        Ok(Reading {
            reader: self,
            hops,
            position: 0,
        })
    }
}

impl Reading<'_> {
    /// The scores after one more token of each text: `[stories, vocab]`.
    pub(super) fn step(&mut self, ids: &[u32; STORIES]) -> Result<Vec<f32>> {
        let shape = [STORIES, 1, self.reader.head.hidden()];
        let mut states = self.reader.head.embed(ids)?;
        self.cross(&mut states)?;
        for (blocks, cache) in &self.hops {
            let row = Row {
                cache: *cache,
                blocks: blocks.clone(),
                position: self.position,
                hidden_states: HiddenStates {
                    values: &states,
                    shape,
                },
                prompts: None,
                reorder: None,
            };
            let answer = self.reader.span.step(&[row]).pop();
            states = answer.context("an answer for the row")??;
            self.cross(&mut states)?;
        }
        self.position += 1;
        Ok(self.reader.head.logits(&states)?)
    }

    /// Sends each text's hidden states, a tensor of its own, over a link. Without a codec they are rounded to the
    /// span's type, no more.
    fn cross(&self, states: &mut [f32]) -> Result<()> {
        let dtype = match self.reader.span.description().dtype {
            SpanDType::F32 => DType::F32,
            SpanDType::BF16 => DType::BF16,
            SpanDType::F16 => DType::F16,
        };
        let hidden = self.reader.head.hidden();
        for text in states.chunks_exact_mut(hidden) {
            let sent = encode_f32(text, &[1, 1, hidden], dtype, self.reader.codec)?;
            text.copy_from_slice(&decode_f32(&sent)?);
        }
        Ok(())
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        for (_, cache) in &self.hops {
            self.reader.span.close_cache(*cache);
        }
    }
}
