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

/// Bytes of the processor's largest cache; 0 where the system does not say.
pub(crate) fn largest_cache() -> usize {
    let bytes = |index: usize| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
        let text = fs::read_to_string(path).ok()?;
        let kibibytes: usize = text.trim().strip_suffix('K')?.parse().ok()?;
        Some(kibibytes * 1024)
    };
    (0..MAX_CACHES).filter_map(bytes).max().unwrap_or(0)
}

/// More than any processor lists for a core: instructions, data, and the levels above.
const MAX_CACHES: usize = 8;

/// CPU time of all processes, and of this one with all it has started, since some fixed moment; in clock ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuTimes {
    total: u64,
    busy: u64,
    own: u64,
}

impl CpuTimes {
    /// Now. All zero where there is no `/proc`.
    pub(crate) fn now() -> Self {
        let (total, busy) = machine().unwrap_or_default();
        Self {
            total,
            busy,
            own: family_ticks(),
        }
    }

    /// Share of the machine that others, and other guests of its host, have used since `before`.
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

/// One line of `/proc/PID/stat`.
#[derive(Debug)]
struct Process {
    id: u32,
    parent: u32,
    /// Its own and those of children that have ended.
    ticks: u64,
}

impl Process {
    /// Fields after the name, which may contain blanks: 3 state, 4 parent, 14 to 17 the times.
    fn parse(text: &str) -> Option<Self> {
        let (head, tail) = text.rsplit_once(')')?;
        let id = head.split_once(' ')?.0.parse().ok()?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        let times = fields.get(11..15)?.iter();
        Some(Self {
            id,
            parent: fields.get(1)?.parse().ok()?,
            ticks: times.filter_map(|time| time.parse::<u64>().ok()).sum(),
        })
    }
}

/// CPU time of this process and of its descendants.
fn family_ticks() -> u64 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let mut others: Vec<Process> = stats.filter_map(|text| Process::parse(&text)).collect();
    let mut family = vec![std::process::id()];
    let mut ticks = 0;
    while let Some(parent) = family.pop() {
        others.retain(|process| {
            if process.parent == parent {
                family.push(process.id);
            }
            if process.id == parent {
                ticks += process.ticks;
            }
            process.id != parent
        });
    }
    ticks
}
