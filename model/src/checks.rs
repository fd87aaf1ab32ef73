//! Whether a call fits its span and its cache. All checks come before anything is changed.

use std::ops::Range;

use crate::config::ModelConfig;
use crate::contract::{HiddenStates, Prompts, Row, SpanError};
use crate::error::LoadError;

/// What a cache was opened for.
#[derive(Clone, Debug)]
pub(crate) struct CacheLimits {
    /// Blocks that have entries.
    pub(crate) blocks: Range<usize>,
    /// Batch rows of every step.
    pub(crate) batch: usize,
    /// Tokens that it may ever hold.
    pub(crate) max_length: usize,
}

/// Checks a cached step of a span of width `hidden`.
///
/// - `cached(blocks)`: tokens in the entry of those blocks that holds fewest
pub(crate) fn check_row(
    row: &Row<'_>,
    cache: &CacheLimits,
    cached: impl FnOnce(&Range<usize>) -> usize,
    hidden: usize,
) -> Result<(), SpanError> {
    check_blocks(&row.blocks, &cache.blocks)?;
    check_hidden_states(&row.hidden_states, hidden)?;
    let [batch, seq, _] = row.hidden_states.shape;
    if batch != cache.batch {
        return Err(shape("batch of hidden states", cache.batch, batch));
    }
    if let Some(prompts) = &row.prompts {
        check_prompts(prompts, &row.blocks, row.hidden_states.shape)?;
    }
    if let Some(reorder) = row.reorder {
        check_reorder(reorder, batch)?;
    }
    let cached = cached(&row.blocks);
    if row.position > cached {
        return Err(SpanError::PositionAhead {
            position: row.position,
            cached,
        });
    }
    if seq > cache.max_length - row.position {
        return Err(SpanError::CacheFull {
            position: row.position,
            tokens: seq,
            max_length: cache.max_length,
        });
    }
    Ok(())
}

/// Checks that a span to load is a non-empty part of the model.
pub(crate) fn check_blocks_of_model(
    blocks: &Range<usize>,
    config: &ModelConfig,
) -> Result<(), LoadError> {
    if blocks.is_empty() || blocks.end > config.num_blocks {
        return Err(LoadError::BlocksOutsideModel {
            requested: blocks.clone(),
            num_blocks: config.num_blocks,
        });
    }
    Ok(())
}

/// Checks that `requested` is a non-empty part of `held`.
pub(crate) fn check_blocks(requested: &Range<usize>, held: &Range<usize>) -> Result<(), SpanError> {
    if requested.is_empty() {
        return Err(shape("blocks", "at least one", "none"));
    }
    if requested.start < held.start || requested.end > held.end {
        return Err(SpanError::OutsideSpan {
            requested: requested.clone(),
            held: held.clone(),
        });
    }
    Ok(())
}

/// Checks that values and shape agree with each other and with the span's width.
pub(crate) fn check_hidden_states(
    hidden_states: &HiddenStates<'_>,
    hidden: usize,
) -> Result<(), SpanError> {
    let [batch, _, width] = hidden_states.shape;
    if width != hidden {
        return Err(shape("width of hidden states", hidden, width));
    }
    check_some_batch(batch)?;
    check_count(
        "hidden states",
        hidden_states.values.len(),
        &hidden_states.shape,
    )
}

/// Checks that there is at least one sequence.
pub(crate) fn check_some_batch(batch: usize) -> Result<(), SpanError> {
    if batch == 0 {
        return Err(shape("batch", "at least 1", 0));
    }
    Ok(())
}

/// Checks prompts against the blocks and the hidden states that they are added to.
pub(crate) fn check_prompts(
    prompts: &Prompts<'_>,
    blocks: &Range<usize>,
    [batch, seq, hidden]: [usize; 3],
) -> Result<(), SpanError> {
    let [prompt_blocks, prompt_batch, prefix, width] = prompts.shape;
    if prompt_blocks != blocks.len() {
        return Err(shape("blocks of prompts", blocks.len(), prompt_blocks));
    }
    if prompt_batch != 1 && prompt_batch != batch {
        return Err(shape(
            "batch of prompts",
            format!("1 or {batch}"),
            prompt_batch,
        ));
    }
    if prefix > seq {
        return Err(shape("prefix of prompts", format!("at most {seq}"), prefix));
    }
    if width != hidden {
        return Err(shape("width of prompts", hidden, width));
    }
    check_count("prompts", prompts.values.len(), &prompts.shape)
}

fn check_reorder(reorder: &[usize], batch: usize) -> Result<(), SpanError> {
    if reorder.len() != batch {
        return Err(shape("number of reorder indices", batch, reorder.len()));
    }
    match reorder.iter().find(|index| **index >= batch) {
        Some(index) => Err(shape("reorder index", format!("below {batch}"), index)),
        None => Ok(()),
    }
}

fn check_count(what: &'static str, values: usize, dims: &[usize]) -> Result<(), SpanError> {
    let count = dims
        .iter()
        .try_fold(1usize, |count, dim| count.checked_mul(*dim));
    if count == Some(values) {
        Ok(())
    } else {
        Err(shape(
            what,
            format!("{dims:?} values"),
            format!("{values} values"),
        ))
    }
}

fn shape(what: &'static str, expected: impl ToString, got: impl ToString) -> SpanError {
    SpanError::Shape {
        what,
        expected: expected.to_string(),
        got: got.to_string(),
    }
}
