//! What this process uses: `/proc` of Linux; elsewhere nothing is known.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
pub(super) fn memory_bytes() -> Option<u64> {
    resident_bytes(&fs::read_to_string("/proc/self/status").ok()?)
}

fn cpu_seconds() -> Option<f64> {
    ticks(&fs::read_to_string("/proc/self/stat").ok()?).map(|ticks| ticks as f64 / TICKS_PER_SECOND)
}

/// Of `/proc/self/stat`: user and system time. The name before them may hold anything, even brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(FIELDS_BEFORE_TIMES);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Of `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Shorter looks would see the clock's steps.
const SHORTEST_LOOK: Duration = Duration::from_millis(500);
/// `USER_HZ`: what Linux tells programs, whatever its own clock does (proc_pid_stat(5)).
const TICKS_PER_SECOND: f64 = 100.0;
/// From the state, the first field after the name, to the user time (proc_pid_stat(5)).
const FIELDS_BEFORE_TIMES: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_proc() {
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194304 90 0 0 0 150 50 0 0 20 0 3 0 99 0 0";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("7 (a) S 1"), None);
        let status = "Name:\ta\nVmHWM:\t   900 kB\nVmRSS:\t   800 kB\n";
        assert_eq!(resident_bytes(status), Some(800 * 1024));
        assert_eq!(resident_bytes("Name:\ta\n"), None);
    }

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
