//! Room at servers: sessions that wait yield to whoever has none.

use std::pin::pin;
use std::time::Duration;

use block_client::{PlannedHop, RouteError, RouteRequest, Session, SessionConfig, SessionError};
use tokio::time::{Instant, timeout};

use crate::gateway::Gateway;
use crate::refusal::is_busy;
use crate::served_model::ServedModel;

/// The way of a session, before it is opened: whoever waits for blocks without a server does not wait for a slow one.
///
/// # Errors
/// [`RouteError`]: a block has had no server for as long as the gateway waits, or the request cannot be met.
pub(crate) async fn route(
    (gateway, model): (&Gateway, &ServedModel),
    request: &RouteRequest,
) -> Result<Vec<PlannedHop>, RouteError> {
    let patience = gateway.config().no_route_patience;
    model.remote().view.route_soon(request, patience).await
}

/// Opens a session. If servers have no room, those that wait with this model end for it; if they refuse it, it is opened
/// for `least` tokens.
///
/// # Errors
/// [`SessionError`]: of the second try, if there was one.
pub(crate) async fn open(
    (gateway, model): (&Gateway, &ServedModel),
    config: SessionConfig,
    least: usize,
) -> Result<Session, SessionError> {
    let (kept, name) = (gateway.kept(), model.name());
    let (began, deadline) = (Instant::now(), config.open_deadline);
    let is_hurried = deadline > HURRY && kept.any_waits(name);
    let first = SessionConfig {
        open_deadline: if is_hurried { HURRY } else { deadline },
        ..config.clone()
    };
    let error = match model.remote().session(first).await {
        Ok(session) => return Ok(session),
        Err(error) => error,
    };
    let (is_busy, is_late, is_refused) = match &error {
        SessionError::NoRoute { tried, .. } => (is_busy(tried), is_hurried, !tried.is_empty()),
        SessionError::Rejected { .. } => (false, false, true),
        SessionError::TooLong { .. }
        | SessionError::RouteLost { .. }
        | SessionError::Unsupported(_)
        | SessionError::BadInput(_)
        | SessionError::Nonsense(_)
        | SessionError::Closed(_) => (false, false, false),
    };
    let has_room = is_busy && kept.make_room(name);
    let needs_less = is_refused && least < config.max_length;
    if !(has_room || is_late || needs_less) {
        return Err(error);
    }
    let second = SessionConfig {
        max_length: least,
        open_deadline: deadline.saturating_sub(began.elapsed()),
        ..config
    };
    model.remote().session(second).await
}

/// Does a step of a session. If it takes long while servers have no room, which may be what its repair waits for, the
/// sessions that wait with this model end for it. A server that is only slow costs none. Dropping it is dropping `step`.
pub(crate) async fn step<T>(
    (gateway, model): (&Gateway, &ServedModel),
    step: impl Future<Output = T>,
) -> T {
    let mut step = pin!(step);
    loop {
        if let Ok(output) = timeout(STALL, &mut step).await {
            return output;
        }
        if model.remote().view.is_crowded() {
            gateway.kept().make_room(model.name());
        }
    }
}

/// How long opening is tried while other sessions wait, which may be all that is in its way. A try that is under way is
/// not broken off: three fit in if servers refuse at once.
const HURRY: Duration = Duration::from_secs(1);
/// A step that takes longer may be under repair. Shorter than a busy server is left out, so that this shows.
const STALL: Duration = Duration::from_secs(2);
