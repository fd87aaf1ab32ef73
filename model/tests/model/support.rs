//! Fixtures, and short ways to say what a test means.

use std::ops::Range;
use std::path::{Path, PathBuf};

use block_model::{
    BlockSpan, CacheHandle, ForwardRow, HiddenStates, ModelSource, Row, SpanDType, SpanError,
};
use safetensors::SafeTensors;

use crate::engine::{Span, load_span};

/// Where tiny-llama lies: 4 blocks in two shards, Llama 3 rope scaling, head not tied.
pub(crate) fn tiny_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama")
}

/// Where the embedded model lies: 8 blocks in one bf16 file, head tied.
pub(crate) fn fable_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fable-7m")
}

pub(crate) fn load(path: &Path, blocks: Range<usize>, dtype: SpanDType) -> Span {
    let source = ModelSource::directory(path).unwrap();
    load_span(&source, blocks, dtype).unwrap()
}

/// Hidden states that own their values: `[batch, seq, hidden]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct States {
    pub(crate) values: Vec<f32>,
    pub(crate) shape: [usize; 3],
}

impl States {
    pub(crate) fn view(&self) -> HiddenStates<'_> {
        HiddenStates {
            values: &self.values,
            shape: self.shape,
        }
    }

    /// The tokens `range` of every batch row.
    pub(crate) fn tokens(&self, range: Range<usize>) -> Self {
        let [batch, seq, hidden] = self.shape;
        let rows = self.values.chunks_exact(seq * hidden);
        let kept = rows.flat_map(|row| &row[range.start * hidden..range.end * hidden]);
        Self {
            values: kept.copied().collect(),
            shape: [batch, range.len(), hidden],
        }
    }

    /// The batch rows `rows`, in that order.
    pub(crate) fn rows(&self, rows: &[usize]) -> Self {
        let [_, seq, hidden] = self.shape;
        let size = seq * hidden;
        let kept = rows
            .iter()
            .flat_map(|row| &self.values[row * size..(row + 1) * size]);
        Self {
            values: kept.copied().collect(),
            shape: [rows.len(), seq, hidden],
        }
    }

    /// Joins along the tokens.
    pub(crate) fn join(parts: &[Self]) -> Self {
        let [batch, _, hidden] = parts[0].shape;
        let seq = parts.iter().map(|part| part.shape[1]).sum();
        let row = |part: &Self, row: usize| part.rows(&[row]).values;
        let values =
            (0..batch).flat_map(|number| parts.iter().flat_map(move |part| row(part, number)));
        Self {
            values: values.collect(),
            shape: [batch, seq, hidden],
        }
    }

    /// Hidden states without meaning, the same in every run, exact in every dtype.
    pub(crate) fn noise(shape: [usize; 3], phase: u32) -> Self {
        let count: u32 = shape.iter().product::<usize>().try_into().unwrap();
        // Knuth's multiplicative hash: no two tokens alike.
        let hash = |i: u32| (i + phase * 7919).wrapping_mul(2_654_435_761) >> 20;
        let values = (0..count).map(|i| (hash(i) % 64) as f32 / 32.0 - 1.0);
        Self {
            values: values.collect(),
            shape,
        }
    }

    pub(crate) fn largest(&self) -> f32 {
        self.values
            .iter()
            .fold(0.0, |largest, value| largest.max(value.abs()))
    }

    pub(crate) fn max_distance(&self, other: &Self) -> f32 {
        assert_eq!(self.shape, other.shape);
        let pairs = self.values.iter().zip(&other.values);
        // `max` would swallow a NaN.
        pairs.fold(0.0, |largest, (a, b)| {
            let distance = (a - b).abs();
            if distance <= largest {
                largest
            } else {
                distance
            }
        })
    }

    /// Root mean square of the difference over that of `reference`.
    pub(crate) fn relative_rms(&self, reference: &Self) -> f32 {
        let power = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
        let pairs = self.values.iter().zip(&reference.values);
        let difference = power(&mut pairs.map(|(a, b)| a - b));
        (difference / power(&mut reference.values.iter().copied())).sqrt()
    }
}

/// Reference tensors of a fixture's `golden_hidden.safetensors`.
pub(crate) struct Golden(Vec<u8>);

impl Golden {
    pub(crate) fn read(model: &Path) -> Self {
        Self(std::fs::read(model.join("golden_hidden.safetensors")).unwrap())
    }

    pub(crate) fn states(&self, name: &str) -> States {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        let values = tensor.data().as_chunks::<4>().0.iter();
        States {
            values: values.map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            shape: tensor.shape().try_into().unwrap(),
        }
    }

    /// The input of block `block`, which is the output of the one before.
    pub(crate) fn input_of(&self, block: usize) -> States {
        match block.checked_sub(1) {
            None => self.states("block_input"),
            Some(before) => self.states(&format!("block_{before:02}")),
        }
    }

    pub(crate) fn output_of(&self, block: usize) -> States {
        self.states(&format!("block_{block:02}"))
    }

    pub(crate) fn ids(&self) -> Vec<u32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor("input_ids").unwrap();
        let ids = tensor.data().as_chunks::<8>().0.iter();
        ids.map(|bytes| i64::from_le_bytes(*bytes) as u32).collect()
    }
}

/// A row without prompts and reordering.
pub(crate) fn row(
    cache: CacheHandle,
    blocks: Range<usize>,
    position: usize,
    input: &States,
) -> Row<'_> {
    Row {
        cache,
        blocks,
        position,
        hidden_states: input.view(),
        prompts: None,
        reorder: None,
    }
}

/// Runs one row.
pub(crate) fn try_step(span: &mut dyn BlockSpan, row: Row<'_>) -> Result<States, SpanError> {
    let shape = row.hidden_states.shape;
    let mut outputs = span.step(&[row]);
    assert_eq!(outputs.len(), 1);
    let values = outputs.remove(0)?;
    assert_eq!(values.len(), shape.iter().product::<usize>());
    Ok(States { values, shape })
}

/// Runs one row that must succeed.
pub(crate) fn step(span: &mut dyn BlockSpan, row: Row<'_>) -> States {
    try_step(span, row).unwrap()
}

/// Runs whole sequences without a cache.
pub(crate) fn forward(span: &mut dyn BlockSpan, blocks: Range<usize>, input: &States) -> States {
    let values = span.forward(&ForwardRow {
        blocks,
        hidden_states: input.view(),
        prompts: None,
    });
    States {
        values: values.unwrap(),
        shape: input.shape,
    }
}

/// Every way to cut `0..length` into consecutive non-empty ranges.
pub(crate) fn cuts(length: usize) -> Vec<Vec<Range<usize>>> {
    let ways = 1usize << (length - 1);
    let cut = |way: usize| {
        let mut bounds = vec![0];
        bounds.extend((1..length).filter(|bound| way >> (bound - 1) & 1 == 1));
        bounds.push(length);
        bounds.windows(2).map(|pair| pair[0]..pair[1]).collect()
    };
    (0..ways).map(cut).collect()
}
