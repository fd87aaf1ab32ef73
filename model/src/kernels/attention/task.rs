//! One task: some query rows of one session and one kv head, over all the pages that they see.

use super::layout::{HeadRegion, KvFormat, LANES, PAGE_TOKENS};
use super::round::pack_row;
use super::schedule::Task;
use super::scratch::ThreadScratch;
use super::tile::{LOWEST_MAXIMUM, RowGroup, Tile, TileKernel, TileScratch, View};
use super::{AttentionCall, AttentionRow, PageView};
use crate::kernels::disjoint::Disjoint;

/// Does a task; writes its rows' part of `out`, `[total rows, heads * head_dim]`.
pub(super) fn run(
    call: &AttentionCall<'_>,
    kernel: &TileKernel,
    task: Task,
    out: Disjoint<'_, f32>,
    scratch: &mut ThreadScratch,
) {
    let rows = TaskRows {
        call,
        kernel,
        task,
        row: &call.rows[task.row],
    };
    let layout = &call.shape.layout;
    let count = task.to - task.from;
    let ThreadScratch {
        queries,
        maxima,
        weights,
        sums,
        views,
        widened,
        censored,
        tile: tile_scratch,
    } = scratch;
    let queries = queries.take(count * kernel.query_words);
    rows.pack_queries(queries);
    let maxima = maxima.take(count);
    maxima.fill(LOWEST_MAXIMUM);
    let weights = weights.take(count * LANES);
    weights.fill(0.0);
    let sums = sums.take(count * kernel.width);
    sums.fill(0.0);
    let region = layout.region(task.kv_head);
    let mut visit = Visit {
        kernel,
        censored: censored.take(kernel.value_steps * kernel.width),
        scratch: tile_scratch,
    };
    let widened = match layout.format {
        KvFormat::Int8 => {
            widened.take(kernel.key_steps * PAGE_TOKENS + kernel.value_steps * kernel.width)
        }
        KvFormat::F32 | KvFormat::Bf16 => &mut [],
    };
    let pages = rows.pages_seen();
    for page in pages.clone() {
        // In single precision the parts are large enough without.
        if page < *pages.end() && kernel.is_paired {
            let next = call.pages.page(task.row, page + 1);
            prefetch(&next.words[region.keys.start..region.values.end]);
        }
        let view = call.pages.page(task.row, page);
        let tile = tile_of(kernel, &region, &view, widened);
        // Groups of equal size: one of a single row at the end would be slow.
        let groups = count.div_ceil(kernel.most_rows());
        let mut start = 0;
        for index in 0..groups {
            let end = count * (index + 1) / groups;
            views.clear();
            views.extend((start..end).map(|row| rows.view(row, page)));
            let mut group = RowGroup {
                queries: &queries[start * kernel.query_words..end * kernel.query_words],
                views,
                maxima: &mut maxima[start..end],
                weights: &mut weights[start * LANES..end * LANES],
                sums: &mut sums[start * kernel.width..end * kernel.width],
            };
            visit.group(&tile, view.is_finite, &mut group);
            start = end;
        }
    }
    rows.write(weights, sums, out);
}

/// Asks for memory ahead of its use: a kv head's part of a page ends before the processor's own prefetching is at pace.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "a prefetch has no safe name")]
fn prefetch(words: &[u32]) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    for line in words.chunks(LANES) {
        // SAFETY: a hint without effect on what is computed; the instruction is in every processor of this kind.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_words: &[u32]) {}

struct TaskRows<'a> {
    call: &'a AttentionCall<'a>,
    kernel: &'a TileKernel,
    task: Task,
    row: &'a AttentionRow,
}

impl TaskRows<'_> {
    /// Token, counted in the call's row, and query head of the task's row `index`.
    fn token_and_head(&self, index: usize) -> (usize, usize) {
        let group = self.call.shape.heads_per_kv_head();
        let row = self.task.from + index;
        (row / group, self.task.kv_head * group + row % group)
    }

    fn pack_queries(&self, words: &mut [u32]) {
        let head_dim = self.call.shape.layout.head_dim;
        for (index, words) in words.chunks_exact_mut(self.kernel.query_words).enumerate() {
            let (token, head) = self.token_and_head(index);
            let query =
                self.call
                    .queries
                    .part(self.row.first_row + token, head * head_dim, head_dim);
            pack_row(query, self.kernel.pairs_rows, words);
        }
    }

    fn pages_seen(&self) -> std::ops::RangeInclusive<usize> {
        let first = self.row.position + self.token_and_head(0).0;
        let last = self.row.position + self.token_and_head(self.task.to - self.task.from - 1).0;
        self.call.shape.first_seen(first) / PAGE_TOKENS..=last / PAGE_TOKENS
    }

    /// What the task's row `index` sees of a page.
    fn view(&self, index: usize, page: usize) -> View {
        let shape = self.call.shape;
        let (token, head) = self.token_and_head(index);
        let position = self.row.position + token;
        let start = page * PAGE_TOKENS;
        View {
            from: shape
                .first_seen(position)
                .saturating_sub(start)
                .min(PAGE_TOKENS),
            to: (position + 1).saturating_sub(start).min(PAGE_TOKENS),
            slope: shape
                .alibi
                .as_ref()
                .map_or(0.0, |slopes| slopes[head] * std::f32::consts::LOG2_E),
            distance: start as f32 - position as f32,
        }
    }

    /// Divides the weighted sums by the sum of the weights.
    #[allow(unsafe_code, reason = "tasks write disjoint parts of one output")]
    fn write(&self, weights: &[f32], sums: &[f32], out: Disjoint<'_, f32>) {
        let (head_dim, heads) = (self.call.shape.layout.head_dim, self.call.shape.heads);
        let weights = weights.as_chunks::<LANES>().0;
        for (index, (weights, sums)) in weights
            .iter()
            .zip(sums.chunks_exact(self.kernel.width))
            .enumerate()
        {
            let (token, head) = self.token_and_head(index);
            let start = ((self.row.first_row + token) * heads + head) * head_dim;
            // SAFETY: a query head of a token belongs to one task, as `schedule::plan` cuts each row's tokens and
            // heads into parts and `AttentionCall::check` has seen that rows do not overlap.
            let out = unsafe { out.range(start..start + head_dim) };
            let inverse = 1.0 / weights.iter().sum::<f32>();
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = sum * inverse;
            }
        }
    }
}

/// The operands in a page; 8-bit integers are widened to `widened`.
fn tile_of<'a>(
    kernel: &TileKernel,
    region: &HeadRegion,
    page: &PageView<'a>,
    widened: &'a mut [u32],
) -> Tile<'a> {
    let (keys, values) = (
        &page.words[region.keys.clone()],
        &page.words[region.values.clone()],
    );
    let (keys, values) = if widened.is_empty() {
        (keys, values)
    } else {
        let (wide_keys, wide_values) = widened.split_at_mut(2 * keys.len());
        kernel.widen(keys, wide_keys);
        kernel.widen(values, wide_values);
        (&*wide_keys, &*wide_values)
    };
    Tile {
        keys,
        values,
        key_scales: &page.words[region.key_scales.clone()],
        value_scales: &page.words[region.value_scales.clone()],
    }
}

struct Visit<'a> {
    kernel: &'a TileKernel,
    /// `[value_steps, width]`
    censored: &'a mut [u32],
    scratch: &'a mut TileScratch,
}

impl Visit<'_> {
    fn group(&mut self, tile: &Tile<'_>, is_finite: bool, group: &mut RowGroup<'_>) {
        if group.views.iter().all(View::is_empty) {
            return;
        }
        if is_finite || group.views.iter().all(View::is_whole) {
            self.kernel.visit(tile, group, self.scratch);
        } else {
            self.row_by_row(tile, group);
        }
    }

    /// Zero times a value that is not finite is not zero: each row gets a copy without the values that it may not see.
    fn row_by_row(&mut self, tile: &Tile<'_>, group: &mut RowGroup<'_>) {
        let kernel = self.kernel;
        for (row, view) in group.views.iter().enumerate() {
            if view.is_empty() {
                continue;
            }
            self.censored.copy_from_slice(tile.values);
            let mask = view.mask();
            for (step, words) in self.censored.chunks_exact_mut(kernel.width).enumerate() {
                let kept = match (
                    kernel.is_paired,
                    mask >> (step * if kernel.is_paired { 2 } else { 1 }),
                ) {
                    (false, bits) => 0u32.wrapping_sub((bits & 1) as u32),
                    (true, bits) => [0, 0x0000_ffff, 0xffff_0000, u32::MAX][(bits & 3) as usize],
                };
                words.iter_mut().for_each(|word| *word &= kept);
            }
            let tile = Tile {
                values: self.censored,
                ..*tile
            };
            let mut single = RowGroup {
                queries: &group.queries[row * kernel.query_words..][..kernel.query_words],
                views: std::slice::from_ref(view),
                maxima: &mut group.maxima[row..=row],
                weights: &mut group.weights[row * LANES..][..LANES],
                sums: &mut group.sums[row * kernel.width..][..kernel.width],
            };
            kernel.visit(&tile, &mut single, self.scratch);
        }
    }
}
