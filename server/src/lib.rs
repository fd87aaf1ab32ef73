//! Serves a span of transformer blocks to Petals clients.
//!
//! The process, in the order of its life: [`cli`] and [`config`] read what the operator wants, `run` composes the
//! parts, `plan` and `throughput` say what is held and announced, `announce` keeps the record in the DHT, `admin`
//! tells how it goes. What a program needs besides (failures, logs, metrics as text, signals) is `block_program`.
//!
//! The path of one step: `handler::inference` → `session` → `codec` → `scheduler` → `compute` → the model's span, and
//! back the same way; then `handler::push` to the next server.

pub mod activations;
pub mod cli;
pub mod config;

mod addresses;
mod admin;
mod announce;
mod bench;
mod block_choice;
mod check;
mod devices;
mod http_get;
mod identity_command;
mod memory;
mod model_files;
mod neighbours;
mod plan;
mod reachability;
mod records;
mod run;
mod servers;
mod service_command;
mod startup;
mod status;
mod status_board;
mod systemd_unit;
mod throughput;

pub mod admission;
pub mod cache_budget;
pub mod codec;
pub mod compute;
pub mod lease;
pub mod metrics;
pub mod request_error;
pub mod scheduler;
pub mod service;
pub mod session;
pub mod session_table;

mod handler;

pub use addresses::Announce;
pub use bench::bench;
pub use block_program::{
    Exit, Failure, Folders, LogOptions, Secret, error_report, logging, shutdown,
};
pub use check::{CheckReport, check};
pub use config::{Config, log_options};
pub use devices::{DevicesReport, LevelReport, devices};
pub use identity_command::identity;
pub use plan::command::plan;
pub use request_error::RequestError;
pub use run::run;
pub use service::{Service, ServiceConfig, ServiceError, ServiceSnapshot};
pub use service_command::service;
pub use status::status;
pub use status_board::StatusReport;
