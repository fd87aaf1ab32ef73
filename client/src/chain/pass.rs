//! One step through all segments: sent or handed over, answered, repaired where a server is lost, and only then part of
//! the session.

use block_network::PeerId;
use block_protocol::WireTensor;
use block_protocol::limits::MAX_UNARY_BYTES;
use futures::FutureExt;
use tokio::time::Instant;

use super::Chain;
use super::packing::unpack;
use super::patience::{Patience, counted_tokens};
use super::segment::{LiveHop, Segment, plain_step};
use super::wait::{Pushed, Watch};
use crate::error::{Blame, HopError};
use crate::hop::{HopStep, session_ended};
use crate::link_codec::Format;
use crate::metrics::{self, Phase};
use crate::model_view::PlannedHop;
use crate::session_error::{SessionError, Tried};

/// What a pushed message holds beside its tensor, at most: names of blocks, the rest of the route.
const PUSH_ROOM_BYTES: usize = 256 * 1024;

/// What went wrong while one step was on its way.
#[derive(Debug, Default)]
struct Trouble {
    faults: Vec<Tried>,
    /// The server that calls the step wrong, and the segment. Another one is being asked.
    refused: Option<(usize, PeerId)>,
}

/// A step on its way.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    id: String,
    /// Tokens per sequence before it.
    position: usize,
    tokens: usize,
    /// Where the caches are to be cut first, if any holds more.
    cut: Option<usize>,
    reorder: Option<&'a [usize]>,
}

impl Chain {
    /// Runs one step, `input` in the first boundary's format. Returns the last segment's output, unpacked. Dropping it
    /// leaves hops touched, which the next step replaces.
    ///
    /// # Errors
    /// `Rejected` or `RouteLost`.
    pub(super) async fn pass(
        &mut self,
        input: WireTensor,
        tokens: usize,
        reorder: Option<&[usize]>,
    ) -> Result<Vec<f32>, SessionError> {
        self.make_ready().await?;
        let position = self.position;
        let behind = |segment: &Segment| segment.live().is_some_and(|live| live.held != position);
        let pass = Pass {
            id: self.next_step_id(),
            position,
            tokens,
            cut: self.segments.iter().any(behind).then_some(position),
            reorder,
        };
        let mut inputs = vec![input];
        let mut trouble = Trouble::default();
        // Segments before this one are to get the step from the server before them.
        let mut promised = 0;
        let mut since = Instant::now();
        while let Some(input) = inputs.last()
            && inputs.len() <= self.segments.len()
        {
            let index = inputs.len() - 1;
            if self
                .segments
                .get(index)
                .is_some_and(|segment| segment.live().is_none())
            {
                self.repair(index).await?;
                promised = index;
                since = Instant::now();
            }
            match self
                .hop_step(&pass, index, input, since, &mut promised)
                .await
            {
                Ok(output) => {
                    self.contradict(index, &mut trouble);
                    inputs.push(output);
                    since = Instant::now();
                }
                Err(error) => self.blame(index, &error, &mut trouble)?,
            }
        }
        let output = inputs
            .pop()
            .ok_or_else(|| SessionError::Unsupported("a chain without blocks".to_owned()))?;
        // The last await: who drops it has neither the output nor the step.
        let output = unpack(output).await?;
        self.accept(&pass, inputs);
        Ok(output)
    }

    /// A server that called a step wrong which another one has done is no better than one that fails.
    fn contradict(&self, index: usize, trouble: &mut Trouble) {
        let doer = self.segments.get(index).map(|segment| segment.plan().peer);
        if let Some((refused_at, refuser)) = trouble.refused
            && refused_at == index
        {
            trouble.refused = None;
            if doer.is_some_and(|doer| doer != refuser) {
                let error = HopError::Nonsense("it refused what another server did".to_owned());
                self.context.view.record_failure(refuser, &error);
            }
        }
    }

    /// Whether somebody else could run the blocks of a segment.
    fn has_other(&self, plan: &PlannedHop) -> bool {
        let mut request = self.context.request(plan.blocks.clone());
        request.blocked.push(plan.peer);
        self.context.view.route(&request).is_ok()
    }

    /// Judges the failure of a step at one segment: another server may do it, or the step fails. A server that calls
    /// the step wrong is not believed before a second one says so, if there is one.
    fn blame(
        &mut self,
        index: usize,
        error: &HopError,
        trouble: &mut Trouble,
    ) -> Result<(), SessionError> {
        let Some(segment) = self.segments.get(index) else {
            return Ok(());
        };
        let plan = segment.plan().clone();
        let peer = plan.peer;
        let calls_it_wrong = error.blame() == Blame::Caller;
        let enough = trouble.faults.len() >= self.context.config.attempts;
        if calls_it_wrong {
            let is_ours = matches!(error, HopError::Unsendable(_));
            if is_ours || enough || trouble.refused.is_some() || !self.has_other(&plan) {
                return Err(SessionError::Rejected {
                    by: peer,
                    text: error.to_string(),
                });
            }
            trouble.refused = Some((index, peer));
        }
        self.lose(index, error);
        trouble.faults.push(Tried {
            peer,
            why: error.to_string(),
        });
        if !enough {
            return Ok(());
        }
        Err(self.end(SessionError::RouteLost {
            why: "one step failed at server after server".to_owned(),
            tried: std::mem::take(&mut trouble.faults),
        }))
    }

    /// The step at one segment: its answer, rounded as the segment's boundary wants it.
    async fn hop_step(
        &mut self,
        pass: &Pass<'_>,
        index: usize,
        input: &WireTensor,
        since: Instant,
        promised: &mut usize,
    ) -> Result<WireTensor, HopError> {
        let all = counted_tokens(self.context.config.batch, pass.tokens);
        let is_promised = index < *promised;
        let mut is_late = false;
        loop {
            let step = if is_promised && !is_late {
                None
            } else {
                let (step, end) =
                    compose_step(&self.segments, index, input, pass, self.context.config.push)?;
                *promised = end.max(*promised);
                for segment in self.segments.iter_mut().take(end).skip(index) {
                    if let Some(live) = segment.live_mut() {
                        live.touched = true;
                    }
                }
                Some(step)
            };
            let Some(segment) = self.segments.get_mut(index) else {
                return Err(HopError::Unsendable("no such segment".to_owned()));
            };
            let format = segment.output;
            let Some(live) = segment.live_mut() else {
                return Err(session_ended());
            };
            let (peer, blocks) = (live.peer(), live.plan.blocks.len());
            let watch = Watch {
                node: &self.context.node,
                peer,
                patience: Patience::new(self.context.view.step_estimate(peer, blocks, all)),
                since,
            };
            let answer = match step {
                Some(step) => watch.exchange(&mut live.hop, step, is_late).await?,
                None => match watch.pushed(live.hop.halves().1).await? {
                    Pushed::Answer(answer) => {
                        live.late_pushes = 0;
                        answer
                    }
                    Pushed::Late => {
                        tracing::trace!(%peer, "a pushed step is late, sending a copy");
                        live.late_pushes += 1;
                        is_late = true;
                        continue;
                    }
                },
            };
            let answer = live.witness.check(answer, &pass.id, input)?;
            let took = since.elapsed();
            if !is_late {
                // The wait for a push says nothing of the server, and the next wait would be measured by it.
                self.context.view.record_step(peer, blocks, all, took);
            }
            if let Some(phase) = Phase::of_step(pass.tokens) {
                metrics::record_hop(phase, took);
            }
            return format.of(answer);
        }
    }

    /// Every segment gets a server that holds the right cache, or can be told how to get it right.
    async fn make_ready(&mut self) -> Result<(), SessionError> {
        let position = self.position;
        let mut index = 0;
        while index < self.segments.len() {
            if let Some(segment) = self.segments.get_mut(index)
                && let Some(live) = segment.live_mut()
            {
                let can_cut = live.held == position || live.plan.server.rolls_back();
                if live.touched || !can_cut {
                    segment.expire();
                } else if let Some(said) = live.hop.halves().1.answer().now_or_never() {
                    let error = match said {
                        Ok(None) => session_ended(),
                        Ok(Some(_)) => {
                            HopError::Nonsense("an answer came that nobody asked for".to_owned())
                        }
                        Err(error) => error,
                    };
                    self.lose(index, &error);
                }
            }
            index += 1;
        }
        self.repair(0).await
    }

    /// Makes an answered step part of the session.
    fn accept(&mut self, pass: &Pass<'_>, inputs: Vec<WireTensor>) {
        self.position = pass.position + pass.tokens;
        for (segment, input) in self.segments.iter_mut().zip(inputs) {
            segment.log.append(pass.tokens, pass.reorder, input);
            if let Some(live) = segment.live_mut() {
                live.held = pass.position + pass.tokens;
                live.owed = None;
                live.touched = false;
            }
        }
    }
}

/// The step for one segment's server, with the route of pushes after it. Returns it with the first segment that the
/// pushes do not reach.
fn compose_step(
    segments: &[Segment],
    index: usize,
    input: &WireTensor,
    pass: &Pass<'_>,
    push: bool,
) -> Result<(HopStep, usize), HopError> {
    let gone = || HopError::Broken("no session is open".to_owned());
    let mut from = segments.get(index).ok_or_else(gone)?;
    let mut live = from.live().ok_or_else(gone)?;
    let reorder = live.reorder_for(pass.reorder);
    let tensor = live.terms.fit(input)?;
    let carried = Format {
        dtype: tensor.dtype,
        codec: tensor.compression,
    };
    let values = tensor.numel().unwrap_or(usize::MAX);
    let mut step = plain_step(tensor, pass.id.clone(), reorder.as_deref(), pass.cut)?;
    let mut end = index + 1;
    while push
        && let Some(next) = segments.get(end)
        && let Some(to) = next.live()
        && hands_over(from, live, to, carried, values)
        && to.reorder_for(pass.reorder) == reorder
        && (reorder.is_none() || (live.plan.server.is_ours && to.plan.server.is_ours))
    {
        step.next_servers.push(to.as_next_server()?);
        (from, live) = (next, to);
        end += 1;
    }
    Ok((step, end))
}

/// Whether a server's output can go to the next one without passing the client. `carried`: what the step comes in, whose
/// codec a push keeps.
fn hands_over(
    from: &Segment,
    live: &LiveHop,
    to: &LiveHop,
    carried: Format,
    values: usize,
) -> bool {
    let output = live.terms.output;
    live.plan.server.pushes()
        && to.is_reached_from(live)
        && output.codec == carried.codec
        && output == from.output
        && to.terms.takes_format(output)
        && values.saturating_mul(output.dtype.size()) <= MAX_UNARY_BYTES - PUSH_ROOM_BYTES
}
