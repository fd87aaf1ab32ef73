//! How fast a server has answered. Pure: measured times come in.

use std::time::Duration;

/// How long a step at one server takes, its way there and back included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepEstimate {
    /// As a rule.
    pub typical: Duration,
    /// When it is slow; at least `typical`.
    pub tail: Duration,
}
