//! Child processes of test runs, for the tests of every crate; nothing else depends on this one.
//!
//! - [`programs`]: where cargo has put our programs
//! - [`home`]: a program with a home folder of its own, for tests of its command line; [`golden`]: texts that it prints,
//!   kept as files
//! - [`janitor`]: the one process that ends all others; [`child`]: a process that it watches
//! - [`block_server`], [`swarm_run`], [`http_gateway`], [`python_peer`]: what such a process is, and its line protocol
//! - [`own_network`]: a test in a network namespace of its own
//! - [`span_server`]: a server of either kind
//! - [`mock_hub`]: a hub with one repository, over real HTTP; [`refusing_hub`]: a hub that has nothing for anybody
//! - [`folders`]: the repository, and where files of a test run go
//!
//! A helper that fails panics: the test that called it ends with its text.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test ends the test"
)]

pub mod block_server;
pub mod child;
pub mod folders;
pub mod golden;
pub mod home;
pub mod http_gateway;
pub mod janitor;
pub mod mock_hub;
pub mod own_network;
pub mod programs;
pub mod python_peer;
pub mod refusing_hub;
pub mod span_server;
pub mod swarm_run;

use std::time::Duration;

pub use block_server::{BlockServer, Contact, Span};
pub use child::Child;
pub use folders::{fable, repository, temporary};
pub use golden::Golden;
pub use home::{Home, admin_get};
pub use http_gateway::HttpGateway;
pub use janitor::Farewell;
pub use mock_hub::MockHub;
pub use own_network::{OWN_NETWORK_ADDRESS, in_own_network};
pub use programs::program;
pub use python_peer::{PythonPeer, Reply, Role};
pub use refusing_hub::RefusingHub;
pub use span_server::{Maker, SpanServer, Wanted, start_all};
pub use swarm_run::{Ask, Ending, Line, SwarmRun};

/// How long any one thing may take before a test gives up on it. Nothing here needs more than 20 s
/// on an idle machine; two busy cores that import torch for seven processes at once do.
pub const PATIENCE: Duration = Duration::from_secs(180);
