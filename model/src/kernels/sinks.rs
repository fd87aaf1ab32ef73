//! What becomes of a product's sums: stored, activated, gated, or added to the residual stream.

use half::f16;

use super::activation::{activate, add_to, gate};
use super::disjoint::Disjoint;
use super::format::PANEL;
use super::level::Level;
use super::leveled::leveled;
use super::product::{Sink, Sums};
use super::rounding::{bf16_bits, low_half};
use crate::config::Activation;
use crate::dtype::SpanDType;

leveled! {
    /// Rounds values to what a residual stream of `dtype` can hold.
    pub(crate) fn round_to(dtype: SpanDType, values: &mut [f32]) = round_to_body
}

leveled! {
    /// Adds sums and biases, each times `weight`, then rounds if asked to.
    pub(crate) fn add_row(
        stream: &mut [f32],
        added: [&[f32]; 2],
        weight: f32,
        rounding: Option<SpanDType>,
    ) = add_row_body
}

#[inline(always)]
fn add_row_body<const FMA: bool>(
    stream: &mut [f32],
    added: [&[f32]; 2],
    weight: f32,
    rounding: Option<SpanDType>,
) {
    for added in added {
        stream
            .iter_mut()
            .zip(added)
            .for_each(|(value, added)| *value += weight * added);
    }
    if let Some(dtype) = rounding {
        round_to_body::<FMA>(dtype, stream);
    }
}

#[inline(always)]
fn round_to_body<const FMA: bool>(dtype: SpanDType, values: &mut [f32]) {
    match dtype {
        SpanDType::F32 => {}
        SpanDType::BF16 => values
            .iter_mut()
            .for_each(|value| *value = low_half(bf16_bits(*value))),
        SpanDType::F16 => values
            .iter_mut()
            .for_each(|value| *value = f16::from_f32(*value).to_f32()),
    }
}

/// The biases of a panel; without any the slice is empty.
fn panel_bias(bias: &[f32], panel: usize) -> &[f32] {
    if bias.is_empty() {
        bias
    } else {
        &bias[panel * PANEL..(panel + 1) * PANEL]
    }
}

/// The outputs of one panel.
fn panel_of(out: &mut [f32]) -> &mut [f32; PANEL] {
    out.first_chunk_mut()
        .expect("invariant: a whole number of panels")
}

/// Writes into a matrix `[rows, width]`.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    pub(crate) out: Disjoint<'a, f32>,
    pub(crate) width: usize,
    pub(crate) bias: &'a [f32],
}

#[allow(unsafe_code, reason = "threads write their own outputs of a row")]
impl Sink for Store<'_> {
    fn put(&self, unit: usize, first_row: usize, sums: &[&Sums]) {
        let start = unit * PANEL;
        let len = PANEL.min(self.width - start);
        let bias = panel_bias(self.bias, unit);
        for (row, sums) in sums[0].iter().enumerate() {
            let from = (first_row + row) * self.width + start;
            // SAFETY: a product hands each row's panel to one thread, once.
            let out = unsafe { self.out.range(from..from + len) };
            out.copy_from_slice(&sums[..len]);
            add_to(out, bias);
        }
    }
}

/// Writes `activation(sum)` into a matrix `[rows, width]`.
#[derive(Debug)]
pub(crate) struct Activate<'a> {
    pub(crate) level: Level,
    pub(crate) activation: Activation,
    pub(crate) out: Disjoint<'a, f32>,
    /// A whole number of panels.
    pub(crate) width: usize,
    pub(crate) bias: &'a [f32],
}

#[allow(unsafe_code, reason = "threads write their own outputs of a row")]
impl Sink for Activate<'_> {
    fn put(&self, unit: usize, first_row: usize, sums: &[&Sums]) {
        let bias = panel_bias(self.bias, unit);
        for (row, sums) in sums[0].iter().enumerate() {
            let from = (first_row + row) * self.width + unit * PANEL;
            // SAFETY: a product hands each row's panel to one thread, once.
            let out = unsafe { self.out.range(from..from + PANEL) };
            activate(self.level, self.activation, sums, bias, panel_of(out));
        }
    }
}

/// Writes `activation(gate) * up` into a matrix `[rows, width]`.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    pub(crate) level: Level,
    pub(crate) activation: Activation,
    pub(crate) out: Disjoint<'a, f32>,
    /// A whole number of panels.
    pub(crate) width: usize,
    pub(crate) bias: &'a [f32],
}

#[allow(unsafe_code, reason = "threads write their own outputs of a row")]
impl Sink for Gate<'_> {
    fn panels_at_once(&self) -> usize {
        2
    }

    fn put(&self, unit: usize, first_row: usize, sums: &[&Sums]) {
        let biases = [2 * unit, 2 * unit + 1].map(|panel| panel_bias(self.bias, panel));
        for (row, (gates, ups)) in sums[0].iter().zip(sums[1]).enumerate() {
            let from = (first_row + row) * self.width + unit * PANEL;
            // SAFETY: a product hands each row's panel to one thread, once.
            let out = unsafe { self.out.range(from..from + PANEL) };
            gate(
                self.level,
                self.activation,
                [gates, ups],
                biases,
                panel_of(out),
            );
        }
    }
}

/// Adds to the residual stream `[tokens, width]`.
#[derive(Debug)]
pub(crate) struct Add<'a> {
    pub(crate) level: Level,
    pub(crate) stream: Disjoint<'a, f32>,
    pub(crate) width: usize,
    pub(crate) bias: &'a [f32],
    /// Row in the stream of each row of the product; no two alike.
    pub(crate) stream_rows: &'a [usize],
    /// What each row of the product is multiplied by; with a bias that is, too.
    pub(crate) row_weights: Option<&'a [f32]>,
    /// Whether the stream is rounded afterwards, as at the end of a block.
    pub(crate) rounding: Option<SpanDType>,
}

#[allow(unsafe_code, reason = "threads write their own outputs of a row")]
impl Sink for Add<'_> {
    fn put(&self, unit: usize, first_row: usize, sums: &[&Sums]) {
        let start = unit * PANEL;
        let len = PANEL.min(self.width - start);
        let bias = panel_bias(self.bias, unit);
        for (row, sums) in sums[0].iter().enumerate() {
            let from = self.stream_rows[first_row + row] * self.width + start;
            // SAFETY: a product hands each row's panel to one thread, once, and no two rows have the same stream row.
            let stream = unsafe { self.stream.range(from..from + len) };
            let weight = self
                .row_weights
                .map_or(1.0, |weights| weights[first_row + row]);
            add_row(self.level, stream, [sums, bias], weight, self.rounding);
        }
    }
}
