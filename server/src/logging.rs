//! Log lines: always to stderr, counted, and thin for the libraries.

use std::io::IsTerminal;

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::cli::LogFormat;
use crate::config::LogOptions;
use crate::error_report::{Exit, Failure};
use crate::swarm_metrics;

/// How the start of the server is told.
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
        .with_ansi(is_terminal);
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

fn filter(options: LogOptions, rust_log: Option<String>) -> EnvFilter {
    if let Some(directives) = rust_log.filter(|text| !text.trim().is_empty()) {
        return EnvFilter::new(directives);
    }
    let mut directives = options.library_level.to_string();
    if options.library_level <= tracing::Level::WARN {
        // A lone node has nobody to look up, and its kad says so every five minutes.
        directives.push_str(",libp2p_kad=error");
    }
    for name in OUR_CRATES {
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

const OUR_CRATES: [&str; 4] = [
    "block_server",
    "block_network",
    "block_model",
    "block_protocol",
];

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn our_crates_speak_louder_than_libraries_and_rust_log_wins() {
        let options = LogOptions {
            level: Level::INFO,
            library_level: Level::WARN,
            format: LogFormat::Auto,
            quiet: false,
        };
        let text = filter(options, None).to_string();
        assert!(text.contains("block_server=info"), "{text}");
        assert!(text.contains("warn"), "{text}");
        assert_eq!(filter(options, Some("error".into())).to_string(), "error");
    }
}
