//! Which servers an execution may use.
//!
//! | `allow_networking` | `allow_hybrid_compute` | servers |
//! |---|---|---|
//! | any | no | programs of this machine |
//! | no | yes | these, and the operator's trusted peers |
//! | yes | yes | all of the swarm |
//!
//! A policy bounds who gets hidden states, from which whoever has the model can tell the text. It proves nothing of what
//! these servers do with them, or that their results are right. `allow_telemetry` is taken and changes nothing: there is
//! no telemetry.

use std::time::Duration;

use block_client::{RouteRequest, ServerStatus};
use block_network::PeerId;
use futures::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::api_error::{ApiError, ErrorCode};
use crate::request::Fields;
use crate::served_model::ServedModel;

/// What a caller allows. The default is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Policy {
    pub(super) allows_networking: bool,
    pub(super) allows_hybrid_compute: bool,
}

impl Policy {
    /// Reads the field `policy`. What it does not say is forbidden.
    ///
    /// # Errors
    /// It is no object, or one of its fields no truth value.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, ApiError> {
        let Some(policy) = fields.object("policy")? else {
            return Ok(Self::default());
        };
        let policy = Fields::inside(policy, "policy.");
        policy.flag("allow_telemetry")?;
        Ok(Self {
            allows_networking: policy.flag("allow_networking")?.unwrap_or(false),
            allows_hybrid_compute: policy.flag("allow_hybrid_compute")?.unwrap_or(false),
        })
    }

    /// The only servers that a session of `max_length` tokens may use; `None`: any.
    ///
    /// # Errors
    /// `NoRoute` if nobody serves some blocks, after `patience`; `PolicyForbidsNetwork` if only others do.
    pub(super) async fn allowed(
        self,
        model: &ServedModel,
        (trusted, max_length): (&[PeerId], usize),
        patience: Duration,
    ) -> Result<Option<Vec<PeerId>>, ApiError> {
        if self.allows_networking && self.allows_hybrid_compute {
            return Ok(None);
        }
        let view = &model.remote().view;
        let any = RouteRequest::new(0..view.num_blocks(), max_length);
        view.route_soon(&any, patience).await?;
        let servers = view.snapshot().servers;
        let mut allowed = on_this_machine(model, &servers).await;
        if self.allows_hybrid_compute {
            allowed.extend_from_slice(trusted);
        }
        let some = RouteRequest {
            allowed: Some(allowed.clone()),
            ..any
        };
        match view.route(&some) {
            Ok(_) => Ok(Some(allowed)),
            Err(_) => Err(self.refusal()),
        }
    }

    fn refusal(self) -> ApiError {
        let text = if self.allows_hybrid_compute {
            "some blocks are only at servers that are neither on this machine nor trusted: set policy.allow_networking, or have the operator name them by --trusted-peers"
        } else {
            "some blocks are only on other machines: set policy.allow_hybrid_compute, and policy.allow_networking if they are not trusted peers"
        };
        ApiError::new(ErrorCode::PolicyForbidsNetwork, text).about("policy")
    }
}

/// Servers that are programs of this machine, by the connections that lead to them.
async fn on_this_machine(model: &ServedModel, servers: &[ServerStatus]) -> Vec<PeerId> {
    let node = model.remote().swarm.node();
    let usable = servers.iter().filter(|server| server.is_usable());
    let asked = usable.map(|server| async {
        // Never closed.
        let _turn = CONNECTS.acquire().await.ok()?;
        // Whoever cannot be reached in time serves nobody now.
        let connected = timeout(CONNECT_DEADLINE, node.connect(server.peer)).await;
        let is_here = matches!(connected, Ok(Ok(()))) && node.is_on_this_machine(server.peer).await;
        is_here.then_some(server.peer)
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// How long connecting to a server may take: one on this machine needs milliseconds.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// Servers that are asked at the same time, over all executions: each may have to be dialed.
static CONNECTS: Semaphore = Semaphore::const_new(64);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_policy_does_not_say_is_forbidden() {
        let read = |body: serde_json::Value| {
            let body = body.as_object().unwrap().clone();
            Policy::read(&Fields::new(&body))
        };
        assert_eq!(read(json!({})).unwrap(), Policy::default());
        assert_eq!(read(json!({ "policy": {} })).unwrap(), Policy::default());
        let policy = json!({ "policy": { "allow_networking": true, "allow_telemetry": true } });
        let policy = read(policy).unwrap();
        assert!(policy.allows_networking && !policy.allows_hybrid_compute);
        for wrong in [json!("open"), json!({ "allow_networking": 1 })] {
            let error = read(json!({ "policy": wrong })).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidValue);
        }
    }
}
