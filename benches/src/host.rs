//! The machine: what it is called in figures, and how much of it others are using.

use std::fs;

/// Processor and number of cores, for example `AMD EPYC 9575F x2`.
pub(crate) fn name() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(": "))
        .map_or(std::env::consts::ARCH, |(_, model)| model);
    format!("{model} x{}", cores())
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// CPU time of all processes and of ours since some fixed moment, in clock ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuTimes {
    total: u64,
    busy: u64,
    own: u64,
}

impl CpuTimes {
    /// Now; `family` are the processes that count as ours beside this one. All zero where there is no `/proc`.
    pub(crate) fn now(family: &[u32]) -> Self {
        let (total, busy) = machine().unwrap_or_default();
        let own = process("self").unwrap_or(0);
        let others = family.iter().filter_map(|id| process(&id.to_string()));
        Self {
            total,
            busy,
            own: own + others.sum::<u64>(),
        }
    }

    /// Share of the machine that other processes, and other guests of its host, have used since `before`.
    pub(crate) fn foreign_share(self, before: Self) -> f64 {
        let total = self.total.saturating_sub(before.total);
        let busy = self.busy.saturating_sub(before.busy);
        let own = self.own.saturating_sub(before.own);
        if total == 0 {
            return 0.0;
        }
        busy.saturating_sub(own) as f64 / total as f64
    }
}

/// All time and time not idle, from the first line of `/proc/stat`: user nice system idle iowait irq softirq steal.
fn machine() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let times = text
        .lines()
        .next()?
        .split_ascii_whitespace()
        .skip(1)
        .take(8);
    let times: Vec<u64> = times.filter_map(|time| time.parse().ok()).collect();
    let idle = times.get(3)? + times.get(4)?;
    let total: u64 = times.iter().sum();
    Some((total, total - idle))
}

/// `utime` and `stime` of a process, fields 14 and 15 of its `stat`; its name may contain blanks.
fn process(id: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}
