//! What operators get: metrics, alerts, dashboards and the pages that explain them, checked against each other, against
//! `promtool` and against a real Prometheus that scrapes a real swarm.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test ends the test"
)]

mod catalogue;
mod dashboards;
mod exposition;
mod live;
mod prometheus;
mod queries;
mod runbooks;
mod trace;
