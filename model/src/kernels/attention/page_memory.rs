//! Memory of KV pages: cut from large mappings, so that they lie on huge pages.

#![allow(unsafe_code, reason = "owned parts of one mapping")]

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::kernels::arena::Arena;

/// Memory of one page, zeroed when it was mapped; the mapping goes when the last of its pages does.
#[derive(Debug)]
pub(crate) struct PageMemory {
    start: NonNull<u32>,
    words: usize,
    /// Keeps the mapping; nobody reads or writes through it any more.
    _mapping: Arc<Mapping>,
}

/// An arena that is only used through its parts.
#[derive(Debug)]
struct Mapping {
    _arena: Arena,
}

// SAFETY: a `PageMemory` is the only one with access to its part of the mapping, like a `Box<[u32]>`.
unsafe impl Send for PageMemory {}
// SAFETY: as above; shared access is read access.
unsafe impl Sync for PageMemory {}

/// Maps memory for `count` pages of `words` words each and adds it to `pages`.
///
/// # Errors
/// The operating system's, if it has no room.
pub(crate) fn map_pages(count: usize, words: usize, pages: &mut Vec<PageMemory>) -> io::Result<()> {
    let bytes = words
        .checked_mul(size_of::<u32>())
        .and_then(|bytes| bytes.checked_mul(count));
    let mut arena = Arena::new(bytes.ok_or(io::ErrorKind::OutOfMemory)?)?;
    let start = NonNull::from(arena.bytes_mut()).cast::<u32>();
    assert!(
        start.is_aligned(),
        "invariant: an arena starts at a page of memory"
    );
    let mapping = Arc::new(Mapping { _arena: arena });
    pages.extend((0..count).map(|index| PageMemory {
        // SAFETY: `count * words` words were mapped.
        start: unsafe { start.add(index * words) },
        words,
        _mapping: Arc::clone(&mapping),
    }));
    Ok(())
}

impl Deref for PageMemory {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        // SAFETY: aligned and initialised (mapped memory is zero, any bits are a `u32`), alive as long as the mapping,
        // and written only through this value, which is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl DerefMut for PageMemory {
    fn deref_mut(&mut self) -> &mut [u32] {
        // SAFETY: as for `deref`; the parts of a mapping do not overlap, and this one is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.words) }
    }
}
