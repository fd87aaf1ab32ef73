//! A whole model's blocks in this process, in the place of a chain.

use std::collections::VecDeque;
use std::fmt;

use block_model::{
    BlockSpan, CacheHandle, CandleSpan, ComputeDevice, HiddenStates, ModelSource, Row, SpanDType,
};

use crate::session_error::SessionError;

pub(crate) struct LocalBlocks {
    span: CandleSpan,
    cache: CacheHandle,
    num_blocks: usize,
    hidden: usize,
    pub(crate) position: usize,
    pub(crate) max_length: usize,
    /// Tokens of each step done.
    pub(crate) steps: Vec<usize>,
    /// What becomes of the next steps; done if empty.
    pub(crate) script: VecDeque<Fate>,
}

/// What becomes of a step.
pub(crate) enum Fate {
    Done,
    Fails(SessionError),
    /// Never answers, as a server that hangs.
    Hangs,
    /// Answers with values that are no numbers.
    Nonsense,
}

impl LocalBlocks {
    pub(crate) fn load(source: &ModelSource, max_length: usize) -> Self {
        let config = source.config();
        let num_blocks = config.num_blocks;
        let mut span =
            CandleSpan::load(source, 0..num_blocks, SpanDType::F32, ComputeDevice::Cpu).unwrap();
        let cache = span.open_cache(0..num_blocks, 1, max_length).unwrap();
        Self {
            span,
            cache,
            num_blocks,
            hidden: config.hidden,
            position: 0,
            max_length,
            steps: Vec::new(),
            script: VecDeque::new(),
        }
    }

    pub(crate) async fn step(&mut self, values: &[f32]) -> Result<Vec<f32>, SessionError> {
        match self.script.pop_front() {
            None | Some(Fate::Done) => Ok(self.compute(values)),
            Some(Fate::Fails(error)) => Err(error),
            Some(Fate::Hangs) => std::future::pending().await,
            Some(Fate::Nonsense) => Ok(vec![f32::NAN; self.compute(values).len()]),
        }
    }

    fn compute(&mut self, values: &[f32]) -> Vec<f32> {
        let seq = values.len() / self.hidden;
        let row = Row {
            cache: self.cache,
            blocks: 0..self.num_blocks,
            position: self.position,
            hidden_states: HiddenStates {
                values,
                shape: [1, seq, self.hidden],
            },
            prompts: None,
            reorder: None,
        };
        let outputs = self.span.step(&[row]).remove(0).unwrap();
        self.position += seq;
        self.steps.push(seq);
        outputs
    }
}

impl fmt::Debug for LocalBlocks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LocalBlocks")
    }
}
