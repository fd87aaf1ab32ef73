//! What `block-server` and `swarm` share as programs.
//!
//! - [`error_report`]: how a program fails: a sentence, causes, a hint, an exit code
//! - [`logging`], [`folders`], [`secret`], [`amounts`]: what an operator reads and sets
//! - [`exporter`], [`swarm_metrics`]: metrics as text, and those of every member of a swarm
//! - [`shutdown`], [`file_limit`], [`identity_lock`]: the process and its system

pub mod amounts;
pub mod error_report;
pub mod exporter;
pub mod file_limit;
pub mod folders;
pub mod identity_lock;
pub mod logging;
pub mod secret;
pub mod shutdown;
pub mod swarm_metrics;

pub use error_report::{Exit, Failure};
pub use exporter::{Exporter, MetricsTable};
pub use folders::Folders;
pub use identity_lock::IdentityLock;
pub use logging::{LogFormat, LogOptions, StartLook};
pub use secret::Secret;
