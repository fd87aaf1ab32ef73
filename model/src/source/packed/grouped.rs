//! 4-bit integers in groups of inputs, as GPTQ and AWQ pack them: eight in a word of 32 bits, lowest first.
//!
//! | tensor    | GPTQ                                            | AWQ                                           |
//! |-----------|-------------------------------------------------|-----------------------------------------------|
//! | `qweight` | `[inputs / 8, outputs]`, eight inputs in a word | `[inputs, outputs / 8]`, eight outputs        |
//! | `qzeros`  | `[groups, outputs / 8]`, of each zero one less  | `[groups, outputs / 8]`                       |
//! | `scales`  | `[groups, outputs]`                             | `[groups, outputs]`                           |
//! | `g_idx`   | `[inputs]`, the group of each, if not in turn   |                                               |
//! | order of eight outputs | 0 1 2 3 4 5 6 7                    | 0 2 4 6 1 3 5 7                               |
//!
//! `weight = scale * (integer - zero)`. Source: AutoGPTQ, `qlinear_cuda_old.py`; AutoAWQ, `packing_utils.py`.

use memmap2::Mmap;

use crate::kernels::format::{Format, INT_BLOCK, INT6_BLOCK};
use crate::kernels::quantized_row::QuantizedRow;

/// In which order integers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// GPTQ's; zeros are stored less this.
    Gptq { zero_offset: u8 },
    /// AWQ's.
    Awq,
}

impl Layout {
    /// Shape of `qweight` for a matrix `[outputs, inputs]`.
    pub(crate) fn words_shape(self, [outputs, inputs]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Gptq { .. } => [inputs / IN_A_WORD, outputs],
            Self::Awq => [inputs, outputs / IN_A_WORD],
        }
    }
}

/// Which group each input belongs to.
#[derive(Debug)]
pub(crate) enum Groups {
    /// So many inputs after another.
    InTurn(usize),
    /// Each its own, `[inputs]`.
    Listed(Vec<usize>),
}

impl Groups {
    /// Groups as `g_idx` lists them.
    pub(crate) fn listed(list: Vec<usize>, size: usize) -> Self {
        if list
            .iter()
            .enumerate()
            .all(|(input, group)| *group == input / size)
        {
            Self::InTurn(size)
        } else {
            Self::Listed(list)
        }
    }

    fn of(&self, input: usize) -> usize {
        match self {
            Self::InTurn(size) => input / size,
            Self::Listed(list) => list[input],
        }
    }
}

/// A mapped matrix of grouped integers.
#[derive(Debug)]
pub(crate) struct GroupedRows {
    pub(crate) layout: Layout,
    pub(crate) outputs: usize,
    /// `qweight`
    pub(crate) words: Mmap,
    /// `qzeros`
    pub(crate) zeros: Mmap,
    /// `[groups, outputs]`
    pub(crate) scales: Vec<f32>,
    /// Each below the number of groups.
    pub(crate) groups: Groups,
}

impl GroupedRows {
    /// The packed format that holds rows as they are; `None` if an input's group is not that of its neighbours.
    pub(crate) fn format(&self) -> Option<Format> {
        matches!(self.groups, Groups::InTurn(_)).then_some(Format::Int4Min)
    }

    /// Reads row `row`, which has as many values as `values`.
    pub(crate) fn read(&self, row: usize, values: &mut [f32]) {
        let mut group = usize::MAX;
        let (mut scale, mut zero) = (0.0, 0.0);
        for (input, value) in values.iter_mut().enumerate() {
            let next = self.groups.of(input);
            if next != group {
                group = next;
                (scale, zero) = (self.scale(group, row), self.zero(group, row));
            }
            *value = scale * (f32::from(self.integer(input, row)) - zero);
        }
    }

    /// Reads the integers of row `row` of a matrix that has [`GroupedRows::format`].
    pub(crate) fn read_quantized(&self, row: usize, quantized: QuantizedRow<'_>) {
        for (input, integer) in quantized.integers.iter_mut().enumerate() {
            *integer = self.integer(input, row).cast_signed();
        }
        for (place, scale) in quantized.scales.iter_mut().enumerate() {
            *scale = self.scale(self.groups.of(place * INT6_BLOCK), row);
        }
        for (place, minimum) in quantized.minimums.iter_mut().enumerate() {
            let group = self.groups.of(place * INT_BLOCK);
            *minimum = -(self.scale(group, row) * self.zero(group, row));
        }
    }

    fn integer(&self, input: usize, output: usize) -> u8 {
        let (word, place) = match self.layout {
            Layout::Gptq { .. } => (input / IN_A_WORD * self.outputs + output, input % IN_A_WORD),
            Layout::Awq => (
                (input * self.outputs + output) / IN_A_WORD,
                AWQ_PLACES[output % IN_A_WORD],
            ),
        };
        nibble(&self.words, word, place)
    }

    fn scale(&self, group: usize, output: usize) -> f32 {
        self.scales[group * self.outputs + output]
    }

    fn zero(&self, group: usize, output: usize) -> f32 {
        let word = (group * self.outputs + output) / IN_A_WORD;
        let place = output % IN_A_WORD;
        let zero = match self.layout {
            // What is stored less one has wrapped around: a zero of 0 is stored as 15.
            Layout::Gptq { zero_offset } => (nibble(&self.zeros, word, place) + zero_offset) & 15,
            Layout::Awq => nibble(&self.zeros, word, AWQ_PLACES[place]),
        };
        f32::from(zero)
    }
}

/// The integer at a place of a word.
fn nibble(words: &[u8], word: usize, place: usize) -> u8 {
    words[word * 4 + place / 2] >> (place % 2 * 4) & 15
}

/// Integers of a word.
pub(crate) const IN_A_WORD: usize = 8;

/// Where AWQ keeps each of eight outputs.
const AWQ_PLACES: [usize; IN_A_WORD] = [0, 4, 1, 5, 2, 6, 3, 7];
