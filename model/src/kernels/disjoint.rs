//! One slice written by several threads, each its own part.

use std::marker::PhantomData;
use std::ops::Range;

use super::pool::Pool;

/// A slice whose parts are handed to threads that never touch the same element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: a shared `Disjoint` gives out elements only through `range`, whose callers promise that no two threads hold
// the same element; so it is as good as sending each thread its own `&mut [T]`.
#[allow(unsafe_code, reason = "threads write disjoint parts of one output")]
unsafe impl<T: Send> Send for Disjoint<'_, T> {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "threads write disjoint parts of one output")]
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Takes the slice for the time of one job.
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            borrowed: PhantomData,
        }
    }

    /// One part, to be written.
    ///
    /// # Safety
    /// While the part is in use, nobody else may hold a part that overlaps it.
    ///
    /// # Panics
    /// If the range is outside the slice.
    #[allow(unsafe_code, reason = "threads write disjoint parts of one output")]
    #[allow(
        clippy::mut_from_ref,
        reason = "the safety contract makes the parts disjoint"
    )]
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} is outside 0..{}",
            self.len
        );
        // SAFETY: inside the borrowed slice, as just checked; not aliased, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Rows of a task: fewer are not worth a second thread.
const ROWS_PER_TASK: usize = 16;

/// Calls `work(row, values)` for each row of a matrix of rows of `width`, in parallel.
pub(crate) fn for_each_row<T: Send>(
    pool: &Pool,
    values: &mut [T],
    width: usize,
    work: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    let rows = values.len().checked_div(width).unwrap_or(0);
    let values = Disjoint::new(values);
    pool.run(rows.div_ceil(ROWS_PER_TASK), &|task, _| {
        for row in task * ROWS_PER_TASK..rows.min((task + 1) * ROWS_PER_TASK) {
            // SAFETY: each row belongs to one task.
            #[allow(unsafe_code, reason = "threads write disjoint rows")]
            let values = unsafe { values.range(row * width..(row + 1) * width) };
            work(row, values);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::for_each_row;
    use crate::kernels::pool::Pool;

    #[test]
    fn every_row_is_visited_once() {
        let pool = Pool::new(3).unwrap();
        for (rows, width) in [(0, 4), (1, 4), (16, 1), (100, 3)] {
            let mut values = vec![0; rows * width];
            for_each_row(&pool, &mut values, width, &|row, values| {
                values.iter_mut().for_each(|value| *value += row + 1);
            });
            assert!(
                values
                    .iter()
                    .enumerate()
                    .all(|(place, value)| *value == place / width + 1)
            );
        }
    }
}
