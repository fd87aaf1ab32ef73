//! What this process uses, where Linux tells it; elsewhere nothing is known.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use procfs::WithCurrentSystemInfo;
#[cfg(target_os = "linux")]
use procfs::process::{Process, Stat};

/// The processor's use between two looks at it.
#[derive(Debug)]
pub(super) struct Usage(Mutex<Look>);

#[derive(Debug)]
struct Look {
    at: Instant,
    seconds: f64,
    percent: Option<f64>,
}

impl Usage {
    /// The first look.
    pub(super) fn begin() -> Self {
        Self(Mutex::new(Look {
            at: Instant::now(),
            seconds: cpu_seconds().unwrap_or(0.0),
            percent: None,
        }))
    }

    /// Percent of one processor since the last look; two looks in quick succession have the same.
    pub(super) fn cpu_percent(&self) -> Option<f64> {
        let seconds = cpu_seconds()?;
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = last.at.elapsed();
        if last.percent.is_none() || elapsed >= SHORTEST_LOOK {
            let elapsed = elapsed.as_secs_f64().max(1e-3);
            let percent = ((seconds - last.seconds) / elapsed * 100.0).max(0.0);
            *last = Look {
                at: Instant::now(),
                seconds,
                percent: Some((percent * 10.0).round() / 10.0),
            };
        }
        last.percent
    }
}

/// Memory in use, bytes.
#[cfg(target_os = "linux")]
pub(super) fn memory_bytes() -> Option<u64> {
    Some(stat()?.rss_bytes().get())
}

/// User and system time.
#[cfg(target_os = "linux")]
fn cpu_seconds() -> Option<f64> {
    let stat = stat()?;
    Some((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

#[cfg(target_os = "linux")]
fn stat() -> Option<Stat> {
    Process::myself().ok()?.stat().ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn memory_bytes() -> Option<u64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn cpu_seconds() -> Option<f64> {
    None
}

/// Shorter looks would see the clock's steps.
const SHORTEST_LOOK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_as_use_of_the_processor() {
        let usage = Usage::begin();
        let begun = Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed() < Duration::from_millis(300) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let percent = usage.cpu_percent().unwrap();
        assert!(percent > 1.0, "{percent} after {sum}");
        assert_eq!(usage.cpu_percent(), Some(percent));
        assert!(memory_bytes().unwrap() > 1 << 20);
    }
}
