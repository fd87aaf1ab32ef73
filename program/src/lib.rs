//! What `block-server` and `swarm` share as programs.
//!
//! - [`error_report`]: how a program fails: a sentence, causes, a hint, an exit code
//! - [`logging`], [`folders`], [`secret`], [`amounts`]: what an operator reads and sets
//! - [`settings`]: defaults, files, environment and flags in one order; [`shell_files`]: completions and manual pages; [`version`]: what a build is
//! - [`long_flag`], `flag_file`, [`multiaddrs`], [`peers_file`], [`model_name`], [`model_failure`]: from words of a command line to what they mean
//! - [`member`]: a node that takes part in a swarm; [`lan`]: whom the local network does not have
//! - [`http_port`], [`exporter`], [`swarm_metrics`]: metrics as text, and those of every member of a swarm
//! - [`blocking`], [`network_threads`], [`shutdown`], [`file_limit`], [`identity_lock`], [`service_manager`]: the process and its system

pub mod amounts;
pub mod blocking;
pub mod error_report;
pub mod exporter;
pub mod file_limit;
mod flag_file;
pub mod folders;
pub mod http_port;
pub mod identity_lock;
pub mod lan;
pub mod logging;
pub mod long_flag;
pub mod member;
pub mod model_failure;
pub mod model_name;
pub mod multiaddrs;
pub mod network_threads;
pub mod peers_file;
pub mod secret;
pub mod service_manager;
pub mod settings;
pub mod shell_files;
pub mod shutdown;
pub mod swarm_metrics;
pub mod version;

pub use blocking::on_blocking_thread;
pub use error_report::{Exit, Failure};
pub use exporter::{Exporter, MetricsTable};
pub use folders::Folders;
pub use http_port::HttpPort;
pub use identity_lock::IdentityLock;
pub use logging::{Color, LogFormat, LogOptions, StartLook};
pub use member::{Member, MemberOptions};
pub use model_name::ModelName;
pub use secret::Secret;
