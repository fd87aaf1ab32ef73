//! Blocks with links between them.

use std::ops::Range;

use block_model::{
    BlockSpan, CacheHandle, CandleSpan, ClientHead, ComputeDevice, HiddenStates, ModelSource, Row,
    SpanDType,
};
use block_protocol::compression::{decode_f32, encode_f32};
use block_protocol::{Compression, DType};
use block_testing::fable;

use crate::stories::{STORIES, STORY_TOKENS};

/// All blocks of the embedded model, and what its client keeps.
pub(crate) struct Model {
    pub(crate) head: ClientHead,
    span: CandleSpan,
    dtype: SpanDType,
}

/// How the tokens of a story are cut into steps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// One a step, as in generation.
    Token,
    /// All in one.
    Prompt,
}

/// The stories' sessions at all servers of one chain.
pub(crate) struct Chain<'a> {
    model: &'a mut Model,
    hops: Vec<(Range<usize>, CacheHandle)>,
    compression: Compression,
    position: usize,
}

impl Model {
    pub(crate) fn load(dtype: SpanDType) -> Self {
        let source = ModelSource::directory(fable()).unwrap();
        let blocks = 0..source.config().num_blocks;
        Self {
            head: ClientHead::load(&source).unwrap(),
            span: CandleSpan::load(&source, blocks, dtype, ComputeDevice::Cpu).unwrap(),
            dtype,
        }
    }
}

impl<'a> Chain<'a> {
    /// Cuts the model into `hops` equal spans whose links all carry `compression`.
    pub(crate) fn open(model: &'a mut Model, hops: usize, compression: Compression) -> Self {
        let blocks = model.span.description().blocks.len();
        let span = &mut model.span;
        let open = |hop: usize| {
            let range = hop * blocks / hops..(hop + 1) * blocks / hops;
            let cache = span.open_cache(range.clone(), STORIES, STORY_TOKENS);
            (range, cache.unwrap())
        };
        let hops = (0..hops).map(open).collect();
        Self {
            model,
            hops,
            compression,
            position: 0,
        }
    }

    /// The logits after each token of a step: `[stories, seq, vocab]`; `ids` are `[stories, seq]`.
    pub(crate) fn step(&mut self, ids: &[u32]) -> Vec<f32> {
        let seq = ids.len() / STORIES;
        let mut states = self.model.head.embed(ids).unwrap();
        let shape = [STORIES, seq, self.model.head.hidden()];
        self.cross(&mut states, shape);
        for hop in 0..self.hops.len() {
            let (blocks, cache) = self.hops[hop].clone();
            let row = Row {
                cache,
                blocks,
                position: self.position,
                hidden_states: HiddenStates {
                    values: &states,
                    shape,
                },
                prompts: None,
                reorder: None,
            };
            states = self.model.span.step(&[row]).remove(0).unwrap();
            self.cross(&mut states, shape);
        }
        self.position += seq;
        self.model.head.logits(&states).unwrap()
    }

    /// Sends each story's hidden states, a tensor of its own, over a link.
    fn cross(&self, states: &mut [f32], [stories, seq, hidden]: [usize; 3]) {
        let dtype = match self.model.dtype {
            SpanDType::F32 => DType::F32,
            SpanDType::BF16 => DType::BF16,
            SpanDType::F16 => DType::F16,
        };
        for story in states.chunks_exact_mut(states.len() / stories) {
            let sent = encode_f32(story, &[1, seq, hidden], dtype, self.compression).unwrap();
            story.copy_from_slice(&decode_f32(&sent).unwrap());
        }
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        for (_, cache) in &self.hops {
            self.model.span.close_cache(*cache);
        }
    }
}
