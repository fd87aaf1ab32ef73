//! The libp2p side: what every connection speaks, and the task that drives it.

mod behaviour;
mod causes;
mod connector;
mod event_loop;
mod identified;
mod metrics;

pub(crate) use behaviour::build;
pub(crate) use event_loop::{Command, EventLoop};
