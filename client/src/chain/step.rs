//! A step as the caller sees it: checked, packed, cut if it is long, unpacked.

use tokio::time::Instant;

use super::Chain;
use super::log::compose;
use super::packing::pack;
use crate::metrics::{self, Phase};
use crate::session_error::SessionError;

/// Tokens (batch × seq) in one step; longer inputs are cut. Servers take no more at once by default, the reference's
/// without grouped queries included.
const MAX_STEP_TOKENS: usize = 2048;

impl Chain {
    /// Runs `hidden`, f32 `[batch, seq, hidden]`, through all blocks as the next `seq` tokens and returns the outputs in
    /// the same shape. `reorder`: for each row, which row's cache it continues. Without tokens, a reorder takes effect
    /// with the next step. Dropping it leaves the session as before the step; the next step repairs what it left.
    ///
    /// # Errors
    /// [`SessionError`]; [`SessionError::leaves_session_usable`] says whether the session goes on.
    pub async fn step(
        &mut self,
        hidden: &[f32],
        reorder: Option<&[usize]>,
    ) -> Result<Vec<f32>, SessionError> {
        let seq = self.check_step(hidden, reorder)?;
        let reorder = compose(self.pending.clone(), reorder);
        if seq == 0 {
            self.pending = reorder;
            return Ok(Vec::new());
        }
        let most = (MAX_STEP_TOKENS / self.context.config.batch).max(1);
        // Cut into several, it would reorder twice if it were repeated after a failure in its middle.
        if seq > most && reorder.is_some() {
            return Err(SessionError::BadInput(format!(
                "a step that reorders rows may have {most} tokens per row, not {seq}: send those after them in another step"
            )));
        }
        if let Some(position) = self.unfinished.take() {
            self.roll_back(position)?;
        }
        let began = Instant::now();
        let start = self.position;
        let output = if seq <= most {
            self.one_step(hidden, seq, reorder.as_deref()).await?
        } else {
            self.unfinished = Some(start);
            let output = self.many_steps(hidden, seq, most).await?;
            self.unfinished = None;
            output
        };
        self.pending = None;
        self.note_step(began, seq);
        Ok(output)
    }

    fn check_step(&self, hidden: &[f32], reorder: Option<&[usize]>) -> Result<usize, SessionError> {
        if let Some(why) = &self.ended {
            return Err(SessionError::Closed(why.clone()));
        }
        let config = &self.context.config;
        let row = config.batch * config.hidden;
        if !hidden.len().is_multiple_of(row) {
            return Err(SessionError::BadInput(format!(
                "{} numbers are no hidden states of {} rows of width {}",
                hidden.len(),
                config.batch,
                config.hidden
            )));
        }
        if let Some(rows) = reorder
            && (rows.len() != config.batch || rows.iter().any(|&row| row >= config.batch))
        {
            return Err(SessionError::BadInput(format!(
                "a reorder names one of {0} rows for each of {0} rows",
                config.batch
            )));
        }
        let seq = hidden.len() / row;
        let position = self.unfinished.unwrap_or(self.position);
        if seq > config.max_length.saturating_sub(position) {
            return Err(SessionError::TooLong {
                position,
                new: seq,
                max_length: config.max_length,
            });
        }
        Ok(seq)
    }

    /// One step through the chain.
    async fn one_step(
        &mut self,
        hidden: &[f32],
        seq: usize,
        reorder: Option<&[usize]>,
    ) -> Result<Vec<f32>, SessionError> {
        let input = pack(&self.context.config, &self.entrance, hidden, seq).await?;
        self.pass(input, seq, reorder).await
    }

    /// A long input, cut along its tokens.
    async fn many_steps(
        &mut self,
        hidden: &[f32],
        seq: usize,
        most: usize,
    ) -> Result<Vec<f32>, SessionError> {
        let width = self.context.config.hidden;
        let row = seq * width;
        let mut output = vec![0.0; hidden.len()];
        let mut done = 0;
        while done < seq {
            let count = most.min(seq - done);
            let part = done * width..(done + count) * width;
            let rows = hidden.chunks(row).filter_map(|row| row.get(part.clone()));
            let piece: Vec<f32> = rows.flatten().copied().collect();
            let answer = self.one_step(&piece, count, None).await?;
            let places = output
                .chunks_mut(row)
                .filter_map(|row| row.get_mut(part.clone()));
            for (place, values) in places.zip(answer.chunks(count * width)) {
                place.copy_from_slice(values);
            }
            done += count;
        }
        Ok(output)
    }

    fn note_step(&mut self, began: Instant, seq: usize) {
        let took = began.elapsed();
        if self.stats.steps > 0 {
            self.stats.max_stall = self.stats.max_stall.max(took);
        }
        self.stats.steps += 1;
        if let Some(phase) = Phase::of_step(seq) {
            metrics::record_step(phase, took);
        }
    }
}
