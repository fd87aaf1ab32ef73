//! One block: attention and the MLP, each added to the residual stream.

use super::batch::{Active, Sequence};
use super::cache::Caches;
use super::mixture::Choices;
use super::rotary::RotaryTable;
use super::weights::{BlockWeights, Norm, Projection};
use crate::config::Activation;
use crate::dtype::SpanDType;
use crate::kernels::activations::Activations;
use crate::kernels::attention::AttentionScratch;
use crate::kernels::disjoint::{Disjoint, for_each_row};
use crate::kernels::format::PANEL;
use crate::kernels::level::Level;
use crate::kernels::pool::Pool;
use crate::kernels::product::product;
use crate::kernels::sinks::{Add, Store, add_row};

/// What all blocks of a span share.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) level: Level,
    pub(super) pool: Pool,
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) norm_eps: f32,
    pub(super) residual: SpanDType,
    pub(super) activation: Activation,
    pub(super) is_parallel: bool,
    pub(super) rotary: Vec<RotaryTable>,
}

/// Memory of one call, kept for the next.
#[derive(Debug)]
pub(super) struct Workspace {
    /// The residual stream, `[tokens, hidden]`.
    pub(super) stream: Vec<f32>,
    pub(super) sequences: Vec<Sequence>,
    /// Rows of the call that run now, and the row of each one's first token in the stream.
    pub(super) running: Vec<(usize, usize)>,
    /// For each row of the call, whether it is still to run.
    pub(super) pending: Vec<bool>,
    pub(super) active: Active,
    pub(super) activations: Activations,
    pub(super) qkv: Vec<f32>, // [rows, (heads + 2 * kv_heads) * head_dim]
    pub(super) attended: Vec<f32>, // [rows, heads * head_dim]
    pub(super) gated: Vec<f32>, // [rows, padded ffn]
    /// What a part of the block adds to the stream, where it has a norm of its own, `[rows, hidden]`.
    pub(super) branch: Vec<f32>,
    /// The stream or the branch through a norm, `[rows, hidden]`.
    pub(super) normed: Vec<f32>,
    pub(super) choices: Choices,
    pub(super) attention: AttentionScratch,
}

impl Workspace {
    pub(super) fn new(level: Level, threads: usize) -> Self {
        Self {
            stream: Vec::new(),
            sequences: Vec::new(),
            running: Vec::new(),
            pending: Vec::new(),
            active: Active::default(),
            activations: Activations::new(level),
            qkv: Vec::new(),
            attended: Vec::new(),
            gated: Vec::new(),
            branch: Vec::new(),
            normed: Vec::new(),
            choices: Choices::default(),
            attention: AttentionScratch::new(threads),
        }
    }

    /// Tokens that the block works on.
    pub(super) fn rows(&self) -> usize {
        self.active.stream_rows.len()
    }
}

/// What is multiplied with a projection back to the residual stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand {
    Attended,
    Gated,
}

impl Machine {
    /// Runs the active sequences through block `number` and appends their keys and values to their caches.
    pub(super) fn run(
        &self,
        number: usize,
        block: &BlockWeights,
        caches: &mut Caches,
        work: &mut Workspace,
    ) {
        if self.is_parallel {
            // The MLP reads the stream as it is before attention adds to it.
            self.enter_mlp(block, work);
            self.attention(number, &block.attention, caches, work);
        } else {
            self.attention(number, &block.attention, caches, work);
            self.enter_mlp(block, work);
        }
        self.leave_mlp(block, work);
    }

    /// Fills the activations with the normed residual stream of the active rows.
    pub(super) fn normed(&self, norm: &Norm, projection: &Projection, work: &mut Workspace) {
        let (hidden, padded) = (self.hidden, projection.weights.padded_inputs());
        let (stream, stream_rows) = (&work.stream, &work.active.stream_rows);
        let size = [stream_rows.len(), padded];
        work.activations.fill(
            &self.pool,
            projection.weights.format(),
            size,
            &|row, values| {
                let from = stream_rows[row] * hidden;
                let (normed, rest) = values.split_at_mut(hidden);
                let row = &stream[from..from + hidden];
                norm.apply(self.level, row, self.norm_eps, normed);
                rest.fill(0.0);
            },
        );
    }

    /// Multiplies an operand and adds the result to the residual stream, through a norm if there is one.
    pub(super) fn add_product(
        &self,
        projection: &Projection,
        operand: Operand,
        post_norm: Option<&Norm>,
        rounding: Option<SpanDType>,
        work: &mut Workspace,
    ) {
        self.take_operand(projection, operand, work.rows(), work);
        match post_norm {
            None => {
                let add = Add {
                    level: self.level,
                    stream: Disjoint::new(&mut work.stream),
                    width: self.hidden,
                    bias: &projection.bias,
                    stream_rows: &work.active.stream_rows,
                    row_weights: None,
                    rounding,
                };
                let (weights, activations) = (&projection.weights, &work.activations);
                product(self.level, &self.pool, weights, activations, &add);
            }
            Some(norm) => {
                self.store_product(projection, work);
                self.add_branch(norm, rounding, work);
            }
        }
    }

    /// Fills the activations with the first `rows` rows of an operand.
    pub(super) fn take_operand(
        &self,
        projection: &Projection,
        operand: Operand,
        rows: usize,
        work: &mut Workspace,
    ) {
        let operand = match operand {
            Operand::Attended => (&work.attended[..], self.heads * self.head_dim),
            Operand::Gated => (&work.gated[..], gated_width(projection)),
        };
        self.take_rows(projection, operand, rows, &|row| row, &mut work.activations);
    }

    /// Fills the activations with `rows` rows of a matrix of rows of `width`; `place` says which.
    pub(super) fn take_rows(
        &self,
        projection: &Projection,
        (matrix, width): (&[f32], usize),
        rows: usize,
        place: &(dyn Fn(usize) -> usize + Sync),
        activations: &mut Activations,
    ) {
        let weights = &projection.weights;
        let size = [rows, weights.padded_inputs()];
        activations.fill(&self.pool, weights.format(), size, &|row, values| {
            let (front, rest) = values.split_at_mut(width.min(values.len()));
            let from = place(row) * width;
            front.copy_from_slice(&matrix[from..from + front.len()]);
            rest.fill(0.0);
        });
    }

    fn store_product(&self, projection: &Projection, work: &mut Workspace) {
        let rows = work.rows();
        resize(&mut work.branch, rows * self.hidden);
        let store = Store {
            out: Disjoint::new(&mut work.branch),
            width: self.hidden,
            bias: &projection.bias,
        };
        let (weights, activations) = (&projection.weights, &work.activations);
        product(self.level, &self.pool, weights, activations, &store);
    }

    /// Adds the normed branch to the stream.
    fn add_branch(&self, norm: &Norm, rounding: Option<SpanDType>, work: &mut Workspace) {
        let hidden = self.hidden;
        resize(&mut work.normed, work.branch.len());
        let branch = &work.branch;
        for_each_row(&self.pool, &mut work.normed, hidden, &|row, normed| {
            let part = &branch[row * hidden..(row + 1) * hidden];
            norm.apply(self.level, part, self.norm_eps, normed);
        });
        let rows = work.normed.chunks_exact(hidden);
        for (row, added) in work.active.stream_rows.iter().zip(rows) {
            let stream = &mut work.stream[row * hidden..(row + 1) * hidden];
            add_row(self.level, stream, [added, &[]], 1.0, rounding);
        }
    }
}

/// Width of the rows between the two products of an MLP.
pub(super) fn gated_width(down: &Projection) -> usize {
    down.weights.inputs().next_multiple_of(PANEL)
}

/// Makes room for `len` values that will all be written.
pub(super) fn resize(values: &mut Vec<f32>, len: usize) {
    values.resize(len, 0.0);
}
