//! The wall clock.

/// Seconds since the Unix epoch; 0 on a clock set before it. DHT records and pings carry this.
#[must_use]
pub fn unix_time() -> f64 {
    #[allow(
        clippy::disallowed_types,
        reason = "the one place that reads the wall clock"
    )]
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
