//! `block-server check`: would a start with the same flags work? One line for each thing that could be in the way.

mod machine;
mod swarm;

use std::path::PathBuf;

use block_program::amounts::bytes;
use block_program::{Exit, Failure, Folders, on_blocking_thread};
use serde::Serialize;

use crate::cli::Cli;
use crate::config::Config;
use crate::model_files;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Nothing is in the way.
    Ok,
    /// A start works, and something is worse than it could be.
    Warn,
    /// A start would end with an error.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    verdict: Verdict,
    /// What was looked at, in one word.
    name: &'static str,
    /// What was found.
    found: String,
    /// What to type next.
    hint: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Ok,
            name,
            found: found.into(),
            hint: None,
        }
    }

    fn warn(name: &'static str, found: impl Into<String>, hint: &str) -> Self {
        Self {
            verdict: Verdict::Warn,
            hint: Some(hint.to_owned()),
            ..Self::ok(name, found)
        }
    }

    fn fail(name: &'static str, failure: &Failure) -> Self {
        Self {
            verdict: Verdict::Fail,
            hint: failure.advice().map(ToOwned::to_owned),
            ..Self::ok(name, failure.in_one_line())
        }
    }
}

/// The answer of `block-server check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    checks: Vec<Check>,
}

/// Looks at everything that a start with `cli` needs. `files` are the configuration files that were read for it.
pub async fn check(files: &[PathBuf], mut cli: Cli, folders: &Folders) -> CheckReport {
    let model_flags = &mut cli.serving.model;
    let names_model = model_flags.positional_model.is_some() || model_flags.model.is_some();
    if !names_model {
        model_flags.model = Some(STAND_IN.to_owned());
    }
    let config = Config::from_cli(cli, folders, &|name| std::env::var(name).ok());
    let config = match config {
        Ok(config) => config,
        Err(failure) => {
            let checks = vec![Check::fail("settings", &failure)];
            return CheckReport { checks };
        }
    };
    let mut checks = vec![settings(files)];
    checks.extend(machine::look(&config));
    checks.push(if names_model {
        model(config.clone()).await
    } else {
        Check::warn(
            "model",
            "none is named",
            "block-server check --model M looks at it, too",
        )
    });
    checks.extend(swarm::look(&config).await);
    CheckReport { checks }
}

fn settings(files: &[PathBuf]) -> Check {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let found = if names.is_empty() {
        "no configuration file".to_owned()
    } else {
        names.join(", then ")
    };
    Check::ok("settings", found)
}

/// Whether the model is there, and which blocks of it fit.
async fn model(config: Config) -> Check {
    let name = config.model.name.clone();
    let planned = on_blocking_thread(move || {
        let source = model_files::open(&config, false)?;
        Ok(model_files::draft(&config, &source)?.placed(&[]))
    })
    .await;
    match planned {
        Err(failure) => Check::fail("model", &failure),
        Ok(plan) => {
            let memory = plan.weight_bytes().saturating_add(plan.cache_bytes());
            let found = format!(
                "{name}: {} of {} blocks, {} of memory",
                plan.blocks.len(),
                plan.num_blocks,
                bytes(memory)
            );
            Check::ok("model", found)
        }
    }
}

impl CheckReport {
    /// Whether nothing is in the way of a start.
    pub fn would_start(&self) -> bool {
        let verdicts = self.checks.iter().map(|check| check.verdict);
        verdicts.max() < Some(Verdict::Fail)
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// It cannot be written (exit 70).
    pub fn json(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|error| {
            Failure::new(Exit::Software, "the report cannot be written").caused_by(&error)
        })
    }

    /// A line for each check, and one for its hint.
    pub fn lines(&self) -> String {
        let lines = self.checks.iter().map(|check| {
            let verdict = match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "fail",
            };
            let line = format!("{verdict:<4}  {:<8}  {}", check.name, check.found);
            match &check.hint {
                Some(hint) => format!("{line}\n                hint: {hint}"),
                None => line,
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// What everything but the model is looked at with.
const STAND_IN: &str = "no/model";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_no_failure_and_a_hint_has_its_own_line() {
        let mut checks = vec![
            Check::ok("port", "free"),
            Check::warn("files", "few", "more"),
        ];
        let report = CheckReport {
            checks: checks.clone(),
        };
        assert!(report.would_start());
        assert_eq!(
            report.lines(),
            "ok    port      free\nwarn  files     few\n                hint: more"
        );
        let failure = Failure::usage("no model given")
            .cause("none")
            .hint("name one");
        checks.push(Check::fail("settings", &failure));
        let report = CheckReport { checks };
        assert!(!report.would_start());
        let last = r#"{"verdict":"fail","name":"settings","found":"no model given: none","hint":"name one"}]}"#;
        assert!(report.json().unwrap().ends_with(last));
    }
}
