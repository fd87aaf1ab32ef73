//! Log lines: always to stderr, counted, and thin for the libraries.

use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use clap::ValueEnum;

use crate::error_report::{Exit, Failure};
use crate::swarm_metrics;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Start lines and coloured events on a terminal, plain events in a pipe.
    Auto,
    /// One JSON object a line.
    Json,
}

/// Whether log lines have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set; in a pipe if `CLICOLOR_FORCE` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// `variable` tells whether a variable is set to something else than `0` or nothing.
    fn is_on(self, is_terminal: bool, variable: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            // The two conventions: no-color.org and bixense.com/clicolors.
            Self::Auto => !variable("NO_COLOR") && (is_terminal || variable("CLICOLOR_FORCE")),
        }
    }
}

/// How log lines are written; needed before everything else.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// Our own crates in this program, as their targets are called.
    pub crates: &'static [&'static str],
    /// Level of our own crates.
    pub level: Level,
    /// Level of the libraries.
    pub library_level: Level,
    /// Look of the lines.
    pub format: LogFormat,
    /// No start lines.
    pub quiet: bool,
    /// Colours.
    pub color: Color,
}

impl LogOptions {
    /// `verbose` (a count) raises and `quiet` lowers `level`.
    pub fn new(
        crates: &'static [&'static str],
        level: Level,
        verbose: u8,
        quiet: bool,
        format: LogFormat,
    ) -> Self {
        let (level, library_level) = match (quiet, verbose) {
            (true, _) => (Level::WARN, Level::WARN),
            (false, 0) => (level, level.min(Level::WARN)),
            (false, 1) => (level.max(Level::DEBUG), Level::INFO),
            (false, _) => (Level::TRACE, Level::DEBUG),
        };
        Self {
            crates,
            level,
            library_level,
            format,
            quiet,
            color: Color::Auto,
        }
    }

    /// The same, with or without colours.
    #[must_use]
    pub const fn with_color(mut self, color: Color) -> Self {
        self.color = color;
        self
    }
}

/// How the start of a program is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartLook {
    /// Aligned lines for a person at a terminal.
    Lines,
    /// One log event for each line.
    Events,
}

/// Sends log events to stderr from here on.
///
/// `RUST_LOG` wins over the options.
///
/// # Errors
/// Another subscriber is installed (exit 70).
pub fn install(options: LogOptions) -> Result<StartLook, Failure> {
    let is_terminal = std::io::stderr().is_terminal();
    let is_json = options.format == LogFormat::Json;
    let lines = is_terminal && !is_json && !options.quiet;
    let writer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(options.color.is_on(is_terminal, &is_set));
    let writer = if is_json {
        writer.json().flatten_event(true).boxed()
    } else {
        writer.with_target(false).boxed()
    };
    tracing_subscriber::registry()
        .with(writer.with_filter(filter(options, std::env::var("RUST_LOG").ok())))
        .with(CountLines.with_filter(filter(options, std::env::var("RUST_LOG").ok())))
        .try_init()
        .map_err(|error| Failure::new(Exit::Software, "logging cannot start").caused_by(&error))?;
    Ok(if lines {
        StartLook::Lines
    } else {
        StartLook::Events
    })
}

fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !matches!(value.as_str(), "" | "0"))
}

fn filter(options: LogOptions, rust_log: Option<String>) -> EnvFilter {
    if let Some(directives) = rust_log.filter(|text| !text.trim().is_empty()) {
        return EnvFilter::new(directives);
    }
    let mut directives = options.library_level.to_string();
    if options.library_level <= Level::WARN {
        // A lone node has nobody to look up, and its kad says so every five minutes.
        directives.push_str(",libp2p_kad=error");
    }
    for name in options.crates {
        directives.push_str(&format!(",{name}={}", options.level));
    }
    EnvFilter::new(directives)
}

/// Counts lines for the metric of log messages.
struct CountLines;

impl<S: Subscriber> Layer<S> for CountLines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        swarm_metrics::record_log_line(*event.metadata().level());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_crates_speak_louder_than_libraries_and_rust_log_wins() {
        let options = LogOptions::new(&["block_server"], Level::INFO, 0, false, LogFormat::Auto);
        let text = filter(options, None).to_string();
        assert!(text.contains("block_server=info"), "{text}");
        assert!(text.contains("warn"), "{text}");
        assert_eq!(filter(options, Some("error".into())).to_string(), "error");
    }
    #[test]
    fn colours_follow_the_flag_then_the_variables_then_the_terminal() {
        let none = |_: &str| false;
        let only = |wanted: &'static str| move |name: &str| name == wanted;
        assert!(Color::Always.is_on(false, &only("NO_COLOR")));
        assert!(!Color::Never.is_on(true, &none));
        assert!(Color::Auto.is_on(true, &none) && !Color::Auto.is_on(false, &none));
        assert!(!Color::Auto.is_on(true, &only("NO_COLOR")));
        assert!(Color::Auto.is_on(false, &only("CLICOLOR_FORCE")));
    }
}
