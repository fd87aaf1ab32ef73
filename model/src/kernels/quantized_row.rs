//! One row of weights as a file of quantized weights has it: small integers, scales and minimums.

use super::format::{INT_BLOCK, INT6_BLOCK};

/// Where a reader writes one row: `weight = scale * integer + minimum`. Everything must be written.
///
/// What the integers may be, by format; others are cut off at these borders:
///
/// | format    | integers    | scales                  | minimums |
/// |-----------|-------------|-------------------------|----------|
/// | `Int8`    | -128..=127  | both of a block alike   | 0        |
/// | `Int4`    | -8..=7      | both of a block alike   | 0        |
/// | `Int4Min` | 0..=15      | both of a block alike   | any      |
/// | `Int6`    | -32..=31    | any                     | any      |
///
/// Their scales and minimums are rounded to f16, those above its range to its largest. All other formats are made of
/// the weights that the three stand for.
#[derive(Debug)]
pub(crate) struct QuantizedRow<'a> {
    /// `[inputs]`
    pub(crate) integers: &'a mut [i8],
    /// `[inputs / INT6_BLOCK]`, rounded up: two for each block of [`INT_BLOCK`] inputs.
    pub(crate) scales: &'a mut [f32],
    /// `[inputs / INT_BLOCK]`, rounded up.
    pub(crate) minimums: &'a mut [f32],
}

impl QuantizedRow<'_> {
    /// The same row, for a shorter time.
    pub(crate) fn reborrow(&mut self) -> QuantizedRow<'_> {
        QuantizedRow {
            integers: self.integers,
            scales: self.scales,
            minimums: self.minimums,
        }
    }

    /// The weights that the row stands for: `[inputs]`.
    pub(crate) fn weights(&self, values: &mut [f32]) {
        let groups = values
            .chunks_mut(INT6_BLOCK)
            .zip(self.integers.chunks(INT6_BLOCK));
        for (group, (values, integers)) in groups.enumerate() {
            let (scale, minimum) = (
                self.scales[group],
                self.minimums[group * INT6_BLOCK / INT_BLOCK],
            );
            for (value, integer) in values.iter_mut().zip(integers) {
                *value = scale * f32::from(*integer) + minimum;
            }
        }
    }
}

/// The memory of a [`QuantizedRow`], with zeros behind the inputs.
#[derive(Debug)]
pub(super) struct QuantizedRoom {
    integers: Vec<i8>,
    scales: Vec<f32>,
    minimums: Vec<f32>,
}

impl QuantizedRoom {
    /// Room for so many inputs, a multiple of [`INT_BLOCK`].
    pub(super) fn new(padded_inputs: usize) -> Self {
        Self {
            integers: vec![0; padded_inputs],
            scales: vec![0.0; padded_inputs / INT6_BLOCK],
            minimums: vec![0.0; padded_inputs / INT_BLOCK],
        }
    }

    /// What a reader writes of a row of `inputs`.
    pub(super) fn row(&mut self, inputs: usize) -> QuantizedRow<'_> {
        QuantizedRow {
            integers: &mut self.integers[..inputs],
            scales: &mut self.scales[..inputs.div_ceil(INT6_BLOCK)],
            minimums: &mut self.minimums[..inputs.div_ceil(INT_BLOCK)],
        }
    }

    /// The integers of a block within `least..=most`, plus an offset that makes them unsigned; its scales and minimum.
    #[inline(always)]
    pub(super) fn block(
        &self,
        number: usize,
        [least, most]: [i8; 2],
        integers: &mut [u8; INT_BLOCK],
    ) -> ([f32; 2], f32) {
        let block = &self.integers.as_chunks::<INT_BLOCK>().0[number];
        for (unsigned, integer) in integers.iter_mut().zip(block) {
            *unsigned = integer
                .clamp(&least, &most)
                .wrapping_sub(least)
                .cast_unsigned();
        }
        let scales = self.scales.as_chunks().0[number];
        (scales, self.minimums[number])
    }

    /// The weights that the row stands for: `[padded_inputs]`.
    pub(super) fn values(&self) -> Vec<f32> {
        let scales = self.scales.iter().flat_map(|scale| [*scale; INT6_BLOCK]);
        let minimums = self
            .minimums
            .iter()
            .flat_map(|minimum| [*minimum; INT_BLOCK]);
        let integers = self.integers.iter().zip(scales).zip(minimums);
        integers
            .map(|((integer, scale), minimum)| scale * f32::from(*integer) + minimum)
            .collect()
    }
}
