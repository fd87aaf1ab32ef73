//! How a call's work is cut into tasks for the thread pool.

use super::layout::PAGE_TOKENS;
use super::{AttentionRow, AttentionShape};

/// Query rows of a task at most: a multiple of every kernel's group; with heads of 128 their sums take 48 KiB, which
/// the second cache level holds beside a page's keys and values.
const TASK_ROWS: usize = 96;

/// Query rows of a task at least, unless there are no more: a page's keys are then read for several rows at once.
const SMALLEST_TASK_ROWS: usize = 4;

/// Query rows of one session and one kv head. They are numbered by token and, within a token, by query head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task {
    /// Index of the [`AttentionRow`].
    pub(super) row: usize,
    pub(super) kv_head: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Fills `tasks`, the longest first so that no thread is left alone with one in the end.
pub(super) fn plan(
    shape: &AttentionShape,
    rows: &[AttentionRow],
    threads: usize,
    tasks: &mut Vec<Task>,
) {
    let group = shape.heads_per_kv_head();
    let mut limit = TASK_ROWS;
    let count = |limit: usize| -> usize {
        rows.iter()
            .map(|row| shape.layout.kv_heads * (row.tokens * group).div_ceil(limit))
            .sum()
    };
    while limit > SMALLEST_TASK_ROWS && count(limit) < threads {
        limit /= 2;
    }
    tasks.clear();
    for (index, row) in rows.iter().enumerate() {
        let query_rows = row.tokens * group;
        let parts = query_rows.div_ceil(limit);
        for part in 0..parts {
            let (from, to) = (part * limit, ((part + 1) * limit).min(query_rows));
            tasks.extend((0..shape.layout.kv_heads).map(|kv_head| Task {
                row: index,
                kv_head,
                from,
                to,
            }));
        }
    }
    tasks.sort_unstable_by_key(|task| {
        let last = rows[task.row].position + (task.to - 1) / group;
        let first = shape.first_seen(rows[task.row].position + task.from / group);
        let cost = (last / PAGE_TOKENS + 1 - first / PAGE_TOKENS) * (task.to - task.from);
        (std::cmp::Reverse(cost), task.row, task.from, task.kv_head)
    });
}
