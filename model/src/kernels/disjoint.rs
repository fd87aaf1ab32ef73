//! One slice written by several threads, each its own part.

use std::marker::PhantomData;
use std::ops::Range;

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
