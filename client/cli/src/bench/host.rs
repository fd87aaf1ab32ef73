//! The machine that measured, without what would name it.

use std::fs::read_to_string;
use std::thread::available_parallelism;

use block_network::unix_time;
use serde::Serialize;

/// Facts without which a speed means nothing.
#[derive(Debug, Serialize)]
pub(super) struct Host {
    /// Unix seconds at the end of the measurement.
    time: u64,
    /// Version of this program.
    version: &'static str,
    arch: &'static str,
    os: &'static str,
    kernel: Option<String>,
    cpu: Option<String>,
    cores: Option<usize>,
    memory_bytes: Option<u64>,
}

impl Host {
    /// This machine, now.
    pub(super) fn here() -> Self {
        let line = |file: &str, key: &str| {
            let text = read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = line("/proc/meminfo", "MemTotal");
        let kib = memory.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Self {
            time: unix_time() as u64,
            version: env!("CARGO_PKG_VERSION"),
            arch: std::env::consts::ARCH,
            os: std::env::consts::OS,
            kernel: read_to_string("/proc/sys/kernel/osrelease")
                .ok()
                .map(|text| text.trim().to_owned()),
            cpu: line("/proc/cpuinfo", "model name"),
            cores: available_parallelism().ok().map(Into::into),
            memory_bytes: kib.map(|kib| kib.saturating_mul(1024)),
        }
    }
}
