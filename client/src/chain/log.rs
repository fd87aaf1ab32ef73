//! What a segment was given, step by step, as it was sent: all that is needed to fill another server's cache.
//!
//! Bounded by the session's length: at most one step per token, reorders without tokens are folded into the next step,
//! and of tokens that were rolled back no more is kept than the session is long. Tensors stay packed.

use block_protocol::WireTensor;

use crate::error::HopError;
use crate::link_codec::first_tokens;

/// One step that was answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Tokens per sequence in the cache when it began.
    pub(super) start: usize,
    /// Tokens per sequence in the tensor.
    pub(super) tokens: usize,
    /// How many of them still count; the others were rolled back.
    pub(super) keep: usize,
    /// For each row, which row's cache it continues; applied before the tokens.
    pub(super) reorder: Option<Vec<usize>>,
    /// `[batch, tokens, hidden]` as it was sent first.
    pub(super) tensor: WireTensor,
}

/// The steps of one segment.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    entries: Vec<Entry>,
    /// Reorders of steps that were rolled back: the caches' rows stay as these left them.
    owed: Option<Vec<usize>>,
    /// Tokens per sequence in all tensors, rolled back ones included.
    stored: usize,
}

impl Log {
    /// The steps, in order.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Tokens per sequence that count.
    pub(super) fn position(&self) -> usize {
        self.entries.last().map_or(0, |last| last.start + last.keep)
    }

    /// The reorder that a cache filled from the entries still lacks.
    pub(super) fn owed(&self) -> Option<&Vec<usize>> {
        self.owed.as_ref()
    }

    /// Adds a step that all of the chain has answered. `reorder` is what the step brought.
    pub(super) fn append(&mut self, tokens: usize, reorder: Option<&[usize]>, tensor: WireTensor) {
        let reorder = compose(self.owed.take(), reorder);
        let start = self.position();
        self.stored += tokens;
        self.entries.push(Entry {
            start,
            tokens,
            keep: tokens,
            reorder,
            tensor,
        });
    }

    /// Adds a step as another log has it, with another tensor.
    pub(super) fn copy(&mut self, entry: Entry) {
        self.stored += entry.tokens;
        self.entries.push(entry);
    }

    /// Takes over what another log of the same steps owes.
    pub(super) fn owe(&mut self, owed: Option<Vec<usize>>) {
        self.owed = owed;
    }

    /// Forgets the tokens from `position` on. A step that is cut in the middle is kept whole, since only the whole step
    /// gives the same numbers again, unless that would store more than `max_length` tokens beyond those that count.
    ///
    /// # Errors
    /// `Nonsense` if a tensor cannot be cut, which was accepted by a server: never.
    pub(super) fn cut(&mut self, position: usize, max_length: usize) -> Result<(), HopError> {
        if position == 0 {
            *self = Self::default();
            return Ok(());
        }
        let keep = self.entries.partition_point(|entry| entry.start < position);
        let mut owed = None;
        for entry in self.entries.drain(keep..) {
            self.stored -= entry.tokens;
            owed = compose(owed, entry.reorder.as_deref());
        }
        self.owed = compose(owed, self.owed.as_deref());
        let Some(last) = self.entries.last_mut() else {
            return Ok(());
        };
        last.keep = last.keep.min(position - last.start);
        if last.keep < last.tokens && self.stored > position.saturating_add(max_length) {
            last.tensor = first_tokens(&last.tensor, last.keep)?;
            self.stored -= last.tokens - last.keep;
            last.tokens = last.keep;
        }
        Ok(())
    }

    /// Bytes of all tensors.
    #[cfg(test)]
    fn stored_bytes(&self) -> usize {
        let buffers = self.entries.iter().map(|entry| entry.tensor.buffer.len());
        buffers.sum()
    }
}

/// One reorder that does what two do, one after the other.
pub(super) fn compose(first: Option<Vec<usize>>, then: Option<&[usize]>) -> Option<Vec<usize>> {
    match (first, then) {
        (first, None) => first,
        (None, Some(then)) => Some(then.to_vec()),
        (Some(first), Some(then)) => Some(
            then.iter()
                .map(|&row| first.get(row).copied().unwrap_or(row))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests;
