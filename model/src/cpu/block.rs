//! One block: attention, then the gated MLP, each added to the residual stream.

use super::batch::{Active, ActivePages, Sequence};
use super::cache::Caches;
use super::rotary::RotaryTable;
use super::weights::{BlockWeights, Projection};
use crate::dtype::SpanDType;
use crate::kernels::activations::Activations;
use crate::kernels::attention::{
    AttentionCall, AttentionScratch, AttentionShape, StridedRows, attend,
};
use crate::kernels::disjoint::{Disjoint, for_each_row};
use crate::kernels::format::PANEL;
use crate::kernels::level::Level;
use crate::kernels::norm::rms_norm;
use crate::kernels::pool::Pool;
use crate::kernels::product::product;
use crate::kernels::sinks::{Add, Gate, Store};

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
    pub(super) attention: AttentionShape,
    pub(super) rotary: RotaryTable,
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
    activations: Activations,
    qkv: Vec<f32>,      // [rows, (heads + 2 * kv_heads) * head_dim]
    attended: Vec<f32>, // [rows, heads * head_dim]
    gated: Vec<f32>,    // [rows, padded ffn]
    attention: AttentionScratch,
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
            attention: AttentionScratch::new(threads),
        }
    }
}

impl Machine {
    fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Runs the active sequences through block `number` and appends their keys and values to their caches.
    pub(super) fn run(
        &self,
        number: usize,
        block: &BlockWeights,
        caches: &mut Caches,
        work: &mut Workspace,
    ) {
        self.attention(number, block, caches, work);
        let rows = work.active.stream_rows.len();
        self.normed(&block.mlp_norm, &block.gate_up, work);
        let width = block.down.weights.inputs().next_multiple_of(PANEL);
        resize(&mut work.gated, rows * width);
        let gate = Gate {
            level: self.level,
            out: Disjoint::new(&mut work.gated),
            width,
            bias: &block.gate_up.bias,
        };
        product(
            self.level,
            &self.pool,
            &block.gate_up.weights,
            &work.activations,
            &gate,
        );
        self.add_product(
            &block.down,
            Operand::Gated { width },
            Some(self.residual),
            work,
        );
    }

    fn attention(
        &self,
        number: usize,
        block: &BlockWeights,
        caches: &mut Caches,
        work: &mut Workspace,
    ) {
        let rows = work.active.stream_rows.len();
        let (qkv_width, query_width) = (self.qkv_width(), self.heads * self.head_dim);
        self.normed(&block.attention_norm, &block.qkv, work);
        resize(&mut work.qkv, rows * qkv_width);
        let store = Store {
            out: Disjoint::new(&mut work.qkv),
            width: qkv_width,
            bias: &block.qkv.bias,
        };
        product(
            self.level,
            &self.pool,
            &block.qkv.weights,
            &work.activations,
            &store,
        );
        self.turn(work);

        let part = |heads: usize| StridedRows {
            values: &work.qkv,
            stride: qkv_width,
            offset: heads * self.head_dim,
        };
        for (row, sequence) in work.active.rows.iter().zip(&work.active.sequences) {
            let sequence = &work.sequences[*sequence];
            let cache = caches.get_mut(sequence.slot);
            let begins_anew = cache.has_one_block();
            let table = &mut cache.block_mut(number)[sequence.batch_row];
            if begins_anew && table.cached() > 0 {
                table.truncate(0);
                let pages = table.reserve(row.tokens);
                pages.expect("invariant: the pages just given back are there");
            }
            let (keys, values) = (part(self.heads), part(self.heads + self.kv_heads));
            table.append(keys, values, row.first_row..row.first_row + row.tokens);
        }

        resize(&mut work.attended, rows * query_width);
        let pages = ActivePages {
            caches,
            sequences: &work.sequences,
            active: &work.active.sequences,
            block: number,
        };
        let call = AttentionCall {
            level: self.level,
            shape: &self.attention,
            rows: &work.active.rows,
            pages: &pages,
            queries: part(0),
        };
        attend(&self.pool, &call, &mut work.attended, &mut work.attention);
        self.add_product(
            &block.output,
            Operand::Attended { width: query_width },
            None,
            work,
        );
    }

    /// Fills the activations with the normed residual stream of the active rows.
    fn normed(&self, weight: &[f32], projection: &Projection, work: &mut Workspace) {
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
                rms_norm(
                    self.level,
                    &stream[from..from + hidden],
                    weight,
                    self.norm_eps,
                    normed,
                );
                rest.fill(0.0);
            },
        );
    }

    /// Turns queries and keys by their positions.
    fn turn(&self, work: &mut Workspace) {
        let width = self.qkv_width();
        let turned = (self.heads + self.kv_heads) * self.head_dim;
        let positions = &work.active.positions;
        let turn = |row: usize, values: &mut [f32]| {
            self.rotary.turn(positions[row], &mut values[..turned]);
        };
        for_each_row(&self.pool, &mut work.qkv, width, &turn);
    }

    /// Multiplies an operand and adds the result to the residual stream.
    fn add_product(
        &self,
        projection: &Projection,
        operand: Operand,
        rounding: Option<SpanDType>,
        work: &mut Workspace,
    ) {
        let weights = &projection.weights;
        let (operand, width) = match operand {
            Operand::Attended { width } => (&work.attended, width),
            Operand::Gated { width } => (&work.gated, width),
        };
        let size = [work.active.stream_rows.len(), weights.padded_inputs()];
        work.activations
            .fill(&self.pool, weights.format(), size, &|row, values| {
                let (front, rest) = values.split_at_mut(width.min(values.len()));
                front.copy_from_slice(&operand[row * width..row * width + front.len()]);
                rest.fill(0.0);
            });
        let add = Add {
            stream: Disjoint::new(&mut work.stream),
            width: self.hidden,
            bias: &projection.bias,
            stream_rows: &work.active.stream_rows,
            rounding,
        };
        product(self.level, &self.pool, weights, &work.activations, &add);
    }
}

/// What is multiplied with a projection back to the residual stream, and the width of its rows.
#[derive(Clone, Copy, Debug)]
enum Operand {
    Attended { width: usize },
    Gated { width: usize },
}

/// Makes room for `len` values that will all be written.
fn resize(values: &mut Vec<f32>, len: usize) {
    values.resize(len, 0.0);
}
