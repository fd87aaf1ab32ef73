//! `block-server devices`: what computes here, and why.

use std::fmt::Write as _;

use block_model::{KERNELS_VARIABLE, Level, LevelError};
use block_program::amounts::bytes;
use block_program::{Exit, Failure};
use serde::Serialize;

use crate::cli::DevicesFlags;
use crate::memory;

/// The answer of `block-server devices --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DevicesReport {
    /// Where the arithmetic runs.
    pub device: String,
    /// Instructions of the kernels in use; `None` if [`KERNELS_VARIABLE`] asks for what does not run here.
    pub kernels: Option<String>,
    /// Why these.
    pub reason: String,
    /// What [`KERNELS_VARIABLE`] may name, best first.
    pub levels: Vec<LevelReport>,
    /// Threads that compute unless `--threads` says otherwise.
    pub threads: usize,
    /// Cores of the processor.
    pub physical_cores: usize,
    /// Threads that its cores run.
    pub logical_cores: usize,
    /// What the system says of huge pages: `always` or `madvise` are used, `never` costs 5 to 20 % of decoding speed.
    pub huge_pages: Option<String>,
    /// Bytes that can be taken without swapping.
    pub available_memory_bytes: Option<u64>,
}

/// One level of kernels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LevelReport {
    /// Its name.
    pub name: String,
    /// Whether it runs here.
    pub runs_here: bool,
    /// What it needs and this processor lacks.
    pub missing: Vec<String>,
}

/// Looks, and returns the text for stdout.
///
/// # Errors
/// The report cannot be written as JSON.
pub fn devices(flags: &DevicesFlags) -> Result<String, Failure> {
    let report = DevicesReport::read();
    if flags.json {
        let text = serde_json::to_string(&report);
        text.map_err(|error| {
            Failure::new(Exit::Software, "the report cannot be written").caused_by(&error)
        })
    } else {
        Ok(report.table())
    }
}

impl DevicesReport {
    fn read() -> Self {
        let levels: Vec<_> = Level::ALL.into_iter().map(LevelReport::of).collect();
        let (kernels, reason) = match Level::choose() {
            Ok(choice) => {
                let best = choice.missing.is_empty();
                let reason = if choice.is_forced {
                    format!("{KERNELS_VARIABLE} names it")
                } else if best {
                    "the best there is".to_owned()
                } else {
                    let missing = choice.missing.join(", ");
                    format!("the best of this processor; a better one needs {missing}")
                };
                (Some(choice.level.name().to_owned()), reason)
            }
            Err(error) => (None, error.to_string()),
        };
        Self {
            device: "cpu".to_owned(),
            kernels,
            reason,
            levels,
            threads: num_cpus::get_physical(),
            physical_cores: num_cpus::get_physical(),
            logical_cores: num_cpus::get(),
            huge_pages: memory::huge_pages(),
            available_memory_bytes: memory::available_bytes(),
        }
    }

    fn table(&self) -> String {
        let kernels = self.kernels.as_deref().unwrap_or("none");
        let unknown = || "unknown".to_owned();
        let mut rows = vec![
            ("device", self.device.clone()),
            ("kernels", format!("{kernels} ({})", self.reason)),
        ];
        for level in &self.levels {
            let verdict = if level.runs_here {
                "runs here".to_owned()
            } else {
                format!("lacks {}", level.missing.join(", "))
            };
            rows.push(("", format!("{:<8} {verdict}", level.name)));
        }
        rows.push((
            "threads",
            format!(
                "{} (--threads; {} physical cores, {} logical)",
                self.threads, self.physical_cores, self.logical_cores
            ),
        ));
        let huge_pages = self.huge_pages.clone();
        rows.push(("huge pages", huge_pages.unwrap_or_else(unknown)));
        let memory = self.available_memory_bytes.map(bytes);
        rows.push((
            "memory",
            memory.map_or_else(unknown, |free| format!("{free} available")),
        ));
        rows.iter().fold(String::new(), |mut text, (name, value)| {
            if !text.is_empty() {
                text.push('\n');
            }
            // Writing to a string cannot fail.
            let _ = write!(text, "{name:<10} {value}");
            text
        })
    }
}

impl LevelReport {
    fn of(level: Level) -> Self {
        let missing = match level.check() {
            Err(LevelError::Missing { missing, .. }) => missing,
            Ok(()) | Err(LevelError::Unknown { .. }) => Vec::new(),
        };
        Self {
            name: level.name().to_owned(),
            runs_here: missing.is_empty(),
            missing: missing.into_iter().map(str::to_owned).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_what_is_chosen_and_what_lacks() {
        let report = DevicesReport {
            levels: vec![LevelReport {
                name: "avx512".to_owned(),
                runs_here: false,
                missing: vec!["avx512bf16".to_owned()],
            }],
            kernels: Some("avx2".to_owned()),
            reason: "why".to_owned(),
            ..DevicesReport::read()
        };
        let table = report.table();
        assert!(table.contains("kernels    avx2 (why)\n"), "{table}");
        assert!(table.contains("avx512   lacks avx512bf16\n"), "{table}");
    }

    #[test]
    fn every_processor_has_a_level() {
        let report = DevicesReport::read();
        assert!(report.levels.iter().any(|level| level.runs_here));
        assert!(report.threads >= 1);
    }
}
