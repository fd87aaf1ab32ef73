//! The libp2p side: what every connection speaks, and the task that drives it.

mod behaviour;
mod causes;
mod connector;
mod event_loop;
mod identified;
mod metrics;
mod surroundings;

pub(crate) use behaviour::{Behaviour, BehaviourEvent, build};
pub(crate) use event_loop::{Command, EventLoop};
