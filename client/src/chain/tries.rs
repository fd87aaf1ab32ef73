//! The tries of one opening or one repair: whom to leave out, how long to pause, when to give up.

use std::time::Duration;

use block_network::PeerId;
use tokio::time::{Instant, sleep_until};

use super::Context;
use super::opening::Failed;
use crate::error::{Blame, HopError};
use crate::metrics::{self, HopFailure};
use crate::model_view::PlannedHop;
use crate::router::{RouteError, RouteRequest};
use crate::session_error::Tried;

/// Pause before a server is tried again that has failed in the same repair; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Connecting to a server that was not tried before: some six round trips to the other side of the earth. One whose record
/// outlives it is looked for as long as there is time, while another may be there at once; the node goes on connecting, so
/// that a later try finds it done.
const FIRST_CONNECT_TIME: Duration = Duration::from_millis(1500);

/// Connecting to one that was: shorter than the operating system would try.
const CONNECT_TIME: Duration = Duration::from_secs(5);

const TIME_PASSED: &str = "the time for it has passed";

/// What has been tried.
#[derive(Debug)]
pub(super) struct Tries {
    deadline: Instant,
    left: usize,
    pause: Duration,
    avoid: Vec<PeerId>,
    tried: Vec<Tried>,
    /// Servers that will not take the request later either.
    rejections: Vec<Failed>,
}

/// Why no further try is made.
#[derive(Debug)]
pub(super) enum Stop {
    /// There is no route.
    NoRoute(RouteError),
    /// Every server that could do it says that the request is wrong.
    Rejected(PeerId, String),
    /// Enough attempts, or enough time.
    Exhausted(String),
}

impl Tries {
    /// None so far. `avoid`: servers to leave out as long as others do.
    pub(super) fn new(deadline: Duration, attempts: usize, avoid: Vec<PeerId>) -> Self {
        Self {
            deadline: Instant::now() + deadline,
            left: attempts.max(1),
            pause: FIRST_PAUSE,
            avoid,
            tried: Vec::new(),
            rejections: Vec::new(),
        }
    }

    /// A route for the next try, after a pause if it leads to a server that has failed before. `wish`: the servers of the
    /// first try. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) async fn next_route(
        &mut self,
        context: &Context,
        request: RouteRequest,
        wish: Option<Vec<PlannedHop>>,
    ) -> Result<Vec<PlannedHop>, Stop> {
        if !self.tried.is_empty() && Instant::now() >= self.deadline {
            return Err(Stop::Exhausted(TIME_PASSED.to_owned()));
        }
        if self.left == 0 {
            return Err(Stop::Exhausted("every attempt failed".to_owned()));
        }
        self.left -= 1;
        if let Some(route) = wish
            && self.tried.is_empty()
        {
            return Ok(route);
        }
        let blocked = [request.blocked.as_slice(), &self.avoid].concat();
        let others = RouteRequest {
            blocked,
            ..request.clone()
        };
        let route = match context.view.route(&others) {
            Ok(route) => Ok(route),
            // Nobody else is left: those that failed before the last one may have come back.
            Err(_) => {
                let older = self.avoid.len().saturating_sub(1);
                self.avoid.drain(..older);
                let request = RouteRequest {
                    avoid: self.avoid.clone(),
                    ..request
                };
                let remaining = self.deadline.saturating_duration_since(Instant::now());
                context.view.route_soon(&request, remaining).await
            }
        };
        let route = route.map_err(Stop::NoRoute)?;
        let planned = |peer: &PeerId| route.iter().any(|hop| hop.peer == *peer);
        if let Some((peer, error)) = self.rejections.iter().find(|(peer, _)| planned(peer)) {
            return Err(Stop::Rejected(*peer, error.to_string()));
        }
        if route.iter().any(|hop| self.has_failed(hop)) {
            let until = Instant::now() + self.pause;
            if until >= self.deadline {
                return Err(Stop::Exhausted(TIME_PASSED.to_owned()));
            }
            sleep_until(until).await;
            self.pause = self.pause.saturating_mul(2).min(MAX_PAUSE);
        }
        Ok(route)
    }

    /// How long connecting to a server may take.
    pub(super) fn connect_time(&self, hop: &PlannedHop) -> Duration {
        if self.has_failed(hop) {
            CONNECT_TIME
        } else {
            FIRST_CONNECT_TIME
        }
    }

    /// Whether it failed in one of these tries, or is what they are to replace.
    fn has_failed(&self, hop: &PlannedHop) -> bool {
        self.tried.iter().any(|tried| tried.peer == hop.peer) || self.avoid.contains(&hop.peer)
    }

    /// Notes that a try failed, at these servers. A try that has found nothing but servers that are gone costs none.
    pub(super) fn failed(&mut self, context: &Context, failures: Vec<Failed>) {
        let is_news = |(peer, error): &Failed| {
            matches!(error, HopError::Unreachable(_))
                && self.tried.iter().all(|tried| tried.peer != *peer)
        };
        if failures.iter().all(is_news) {
            self.left += 1;
        }
        for failed in failures {
            self.failed_at(context, failed);
        }
    }

    fn failed_at(&mut self, context: &Context, (peer, error): Failed) {
        note_failure(context, peer, &error);
        self.tried.push(Tried {
            peer,
            why: error.to_string(),
        });
        if !self.avoid.contains(&peer) {
            self.avoid.push(peer);
        }
        if matches!(error.blame(), Blame::Caller | Blame::Misfit) {
            self.rejections.push((peer, error));
        }
    }

    /// The servers tried, in order.
    pub(super) fn into_tried(self) -> Vec<Tried> {
        self.tried
    }
}

/// Tells the view and the metrics of a server's failure.
pub(super) fn note_failure(context: &Context, peer: PeerId, error: &HopError) {
    tracing::debug!(%peer, %error, "hop failed");
    context.view.record_failure(peer, error);
    metrics::record_hop_failure(failure_label(error));
}

fn failure_label(error: &HopError) -> HopFailure {
    match error {
        HopError::Unreachable(_) => HopFailure::Connect,
        HopError::Timeout => HopFailure::Timeout,
        HopError::Refused(_) if error.blame() == Blame::Busy => HopFailure::Overloaded,
        HopError::Refused(_) | HopError::Unsendable(_) => HopFailure::Protocol,
        HopError::Nonsense(_) => HopFailure::BadTensor,
        HopError::Broken(_) => HopFailure::Disconnected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_counted_under_its_own_name() {
        let refused = |text: &str| HopError::Refused(text.to_owned());
        for (error, label) in [
            (HopError::Unreachable(String::new()), HopFailure::Connect),
            (HopError::Timeout, HopFailure::Timeout),
            (refused("this server is busy: x"), HopFailure::Overloaded),
            (refused("no"), HopFailure::Protocol),
            (HopError::Nonsense(String::new()), HopFailure::BadTensor),
            (HopError::Broken(String::new()), HopFailure::Disconnected),
        ] {
            assert_eq!(failure_label(&error), label, "{error}");
        }
    }
}
