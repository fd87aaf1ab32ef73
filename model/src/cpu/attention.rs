//! A block's attention: queries, keys and values, positions, the cache, and back to the residual stream.

use super::batch::ActivePages;
use super::block::{Machine, Operand, Workspace, resize};
use super::cache::Caches;
use super::weights::{AttentionWeights, Norm};
use crate::config::MAX_HEAD_DIM;
use crate::kernels::attention::{AttentionCall, StridedRows, attend};
use crate::kernels::disjoint::{Disjoint, for_each_row};
use crate::kernels::product::product;
use crate::kernels::sinks::Store;

impl Machine {
    fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Adds attention to the stream; appends keys and values to the caches.
    pub(super) fn attention(
        &self,
        number: usize,
        weights: &AttentionWeights,
        caches: &mut Caches,
        work: &mut Workspace,
    ) {
        let rows = work.rows();
        let (qkv_width, query_width) = (self.qkv_width(), self.heads * self.head_dim);
        self.normed(&weights.norm, &weights.qkv, work);
        resize(&mut work.qkv, rows * qkv_width);
        let store = Store {
            out: Disjoint::new(&mut work.qkv),
            width: qkv_width,
            bias: &weights.qkv.bias,
        };
        let packed = &weights.qkv.weights;
        product(self.level, &self.pool, packed, &work.activations, &store);
        self.turn(weights, work);
        self.append(number, caches, work);

        resize(&mut work.attended, rows * query_width);
        let pages = ActivePages {
            caches,
            sequences: &work.sequences,
            active: &work.active.sequences,
            block: number,
        };
        let call = AttentionCall {
            level: self.level,
            shape: &weights.shape,
            rows: &work.active.rows,
            pages: &pages,
            queries: self.heads_from(0, &work.qkv),
        };
        attend(&self.pool, &call, &mut work.attended, &mut work.attention);
        let post_norm = weights.post_norm.as_ref();
        self.add_product(&weights.output, Operand::Attended, post_norm, None, work);
    }

    /// Heads from `first` on of all rows.
    fn heads_from<'a>(&self, first: usize, qkv: &'a [f32]) -> StridedRows<'a> {
        StridedRows {
            values: qkv,
            stride: self.qkv_width(),
            offset: first * self.head_dim,
        }
    }

    /// Norms the heads of queries and keys, where they have norms, and turns them by their positions.
    fn turn(&self, weights: &AttentionWeights, work: &mut Workspace) {
        let rotary = weights.rotary.map(|table| &self.rotary[table]);
        if rotary.is_none() && weights.head_norms.is_none() {
            return;
        }
        let width = self.qkv_width();
        let queries = self.heads * self.head_dim;
        let turned = queries + self.kv_heads * self.head_dim;
        let positions = &work.active.positions;
        for_each_row(&self.pool, &mut work.qkv, width, &|row, values| {
            if let Some([query_norm, key_norm]) = &weights.head_norms {
                let (queries, rest) = values.split_at_mut(queries);
                let keys = &mut rest[..turned - queries.len()];
                self.norm_heads(query_norm, queries);
                self.norm_heads(key_norm, keys);
            }
            if let Some(rotary) = rotary {
                rotary.turn(positions[row], &mut values[..turned]);
            }
        });
    }

    fn norm_heads(&self, norm: &Norm, heads: &mut [f32]) {
        let mut normed = [0.0; MAX_HEAD_DIM];
        for head in heads.chunks_exact_mut(self.head_dim) {
            let normed = &mut normed[..head.len()];
            norm.apply(self.level, head, self.norm_eps, normed);
            head.copy_from_slice(normed);
        }
    }

    /// Appends keys and values to the active sequences' caches.
    fn append(&self, number: usize, caches: &mut Caches, work: &Workspace) {
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
            let keys = self.heads_from(self.heads, &work.qkv);
            let values = self.heads_from(self.heads + self.kv_heads, &work.qkv);
            table.append(keys, values, row.first_row..row.first_row + row.tokens);
        }
    }
}
