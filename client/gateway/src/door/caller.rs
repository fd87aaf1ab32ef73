//! Who calls, as handlers see it.

use std::net::IpAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::keys::ApiKey;
use crate::{ApiError, ErrorCode};

/// Who a request comes from: in the extensions of every request behind the door.
#[derive(Debug, Clone)]
pub struct Caller {
    name: Arc<str>,
    /// Of one without a key.
    address: Option<IpAddr>,
    is_admin: bool,
    models: Option<Arc<[String]>>,
    /// Of one with a key.
    revoked: Option<CancellationToken>,
}

impl Caller {
    pub(super) fn with_key(key: &ApiKey) -> Self {
        Self {
            name: Arc::clone(&key.name),
            address: None,
            is_admin: key.is_admin,
            models: key.models.clone(),
            revoked: Some(key.revoked.clone()),
        }
    }

    /// Somebody without a key. `is_admin`: only people of this machine get this far.
    pub(super) fn anybody(address: Option<IpAddr>, is_admin: bool) -> Self {
        Self {
            name: "anybody".into(),
            address,
            is_admin,
            models: None,
            revoked: None,
        }
    }

    /// The name of its key, `anybody` without one. Fit for logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it calls from, if it has no key: what else tells it from others.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether it may see and end the requests of others.
    #[must_use]
    pub const fn is_admin(&self) -> bool {
        self.is_admin
    }

    /// Whether it may use the model of this id.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.models
            .as_ref()
            .is_none_or(|models| models.iter().any(|allowed| allowed == model))
    }

    /// Waits until its key is gone or changed, for work that outlives a request. Without a key: for ever.
    pub async fn revoked(&self) {
        match &self.revoked {
            Some(revoked) => revoked.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Refuses all but admins.
    ///
    /// # Errors
    /// 403.
    pub fn require_admin(&self) -> Result<(), ApiError> {
        if self.is_admin {
            return Ok(());
        }
        let message = format!("the key {} has no admin scope", self.name);
        Err(ApiError::new(ErrorCode::NotAllowed, message))
    }
}
