//! Who asks, as the door says.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::api_error::ApiError;
use crate::door::{Caller, Waited, net_of};
use crate::kept::Owner;

/// Who asks. Routes that no door stands before are for anybody, who may do everything.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    caller: Option<Caller>,
    /// How long its request waited for its turn, if it had to take one.
    waited: Option<Duration>,
}

/// What tells a caller from others: the name of its key, else its address. One IPv6 caller has a whole /64.
pub(crate) type NameAndNet = (Arc<str>, Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let waited = parts.extensions.get().map(|Waited(waited)| *waited);
        Ok(Self {
            caller: parts.extensions.get().cloned(),
            waited,
        })
    }
}

impl Who {
    /// The name of its key. Fit for logs.
    pub(crate) fn name(&self) -> Arc<str> {
        self.caller
            .as_ref()
            .map_or_else(|| "anybody".into(), |caller| caller.name().into())
    }

    /// The same, and where it calls from if it has no key.
    pub(crate) fn name_and_net(&self) -> NameAndNet {
        let address = self.caller.as_ref().and_then(Caller::address);
        (self.name(), address.map(net_of))
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.caller.as_ref().is_none_or(Caller::is_admin)
    }

    /// Waits until it may ask nothing more, since the operator took its key away, and says so.
    pub(crate) async fn revoked(&self) -> ApiError {
        match &self.caller {
            Some(caller) => caller.revoked().await,
            None => std::future::pending().await,
        }
        let text = format!(
            "the key {} was removed or changed; connect again with one that is known, or ask the gateway's operator",
            self.name()
        );
        ApiError::new(crate::ErrorCode::InvalidApiKey, text)
    }

    pub(crate) fn waited(&self) -> Option<Duration> {
        self.waited
    }

    /// Whose a session with a model is that is opened for it.
    pub(crate) fn owner(&self, model: &str) -> Owner {
        Owner {
            model: model.to_owned(),
            caller: self.name(),
            address: self.caller.as_ref().and_then(Caller::address),
            route: None,
        }
    }

    /// # Errors
    /// 403: its key is not for this model.
    pub(crate) fn may_use(&self, model: &str) -> Result<(), ApiError> {
        let Some(caller) = self.caller.as_ref().filter(|caller| !caller.may_use(model)) else {
            return Ok(());
        };
        let text = format!("the key {} is not for the model {model}", caller.name());
        Err(ApiError::new(crate::ErrorCode::NotAllowed, text).about("model"))
    }

    /// Whether it may end an answer that `owner` asked for.
    pub(crate) fn may_end(&self, owner: &str) -> bool {
        self.is_admin() || *self.name() == *owner
    }
}
