//! Types of flag values that have rules of their own.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

/// Which blocks were asked for, before the model is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocks {
    /// `a:b`, half open.
    Range(Range<usize>),
    /// `N`: this many, where the swarm needs them most.
    Count(usize),
    /// Every block of the model.
    All,
    /// As many as fit in memory, where the swarm needs them most.
    Auto,
}

impl FromStr for Blocks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("all") {
            return Ok(Self::All);
        }
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        if text.contains(',') {
            return Err(
                "one server serves one range; start a second server for the other one".into(),
            );
        }
        let Some((start, end)) = text.split_once(':') else {
            return match text.parse() {
                Ok(0) => Err("a server needs at least one block".into()),
                Ok(count) => Ok(Self::Count(count)),
                Err(_) => Err("expected a range 0:20, a count 12, all, or auto".into()),
            };
        };
        let (Ok(start), Ok(end)) = (start.trim().parse::<usize>(), end.trim().parse::<usize>())
        else {
            return Err(
                "expected a range like 0:20, from the first block to the one after the last".into(),
            );
        };
        if start >= end {
            return Err(format!(
                "{start}:{end} is empty; the end is not included, {start}:{} is one block",
                start.saturating_add(1)
            ));
        }
        Ok(Self::Range(start..end))
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => write!(f, "{}:{}", range.start, range.end),
            Self::Count(count) => write!(f, "{count}"),
            Self::All => f.write_str("all"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// Where the announced throughput comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Throughput {
    /// Measured once; later starts read the kept figure.
    Auto,
    /// Measured now, and kept.
    Eval,
    /// Measured, printed, and the program ends.
    DryRun,
    /// Given by the operator, tokens per second, finite and not negative.
    Fixed(f64),
}

impl FromStr for Throughput {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "eval" => Ok(Self::Eval),
            "dry-run" | "dry_run" => Ok(Self::DryRun),
            number => match number.parse::<f64>() {
                Ok(value) if value.is_finite() && value >= 0.0 => Ok(Self::Fixed(value)),
                _ => Err(
                    "expected auto, eval, dry-run or a number of tokens per second, 0 or more"
                        .into(),
                ),
            },
        }
    }
}

/// How replies are packed when the client does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionName(pub block_protocol::Compression);

impl FromStr for CompressionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use block_protocol::Compression;
        let name: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        let compression = match name.to_ascii_lowercase().as_str() {
            "none" => Compression::None,
            "meanstd16bit" | "meanstd16" => Compression::MeanStd16,
            "float16" => Compression::Float16,
            "quantile8bit" | "quantile8" => Compression::Quantile8,
            "uniform8bit" | "uniform8" => Compression::Uniform8,
            "blockwise8bit" | "blockwise8" => Compression::Blockwise8,
            _ => {
                return Err("expected none, float16, meanstd-16bit, quantile-8bit, uniform-8bit or blockwise-8bit".into());
            }
        };
        Ok(Self(compression))
    }
}

/// Seconds as a flag gives them: a number above 0, at most 30 days.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse::<f64>()
        .map_err(|_| "expected a number of seconds".to_owned())?;
    if seconds > 0.0 && seconds <= MAX_SECONDS {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!(
            "expected seconds above 0 and at most {MAX_SECONDS}"
        ))
    }
}

/// Bytes as a flag gives them: a whole number with a decimal (`12GB`) or binary unit (`8GiB`), or without.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    let unit = SIZE_UNITS.iter().find(|(name, _)| *name == unit);
    let count = digits.parse::<u64>().ok();
    let bytes = count
        .zip(unit)
        .and_then(|(count, (_, bytes))| count.checked_mul(*bytes));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected a size above 0 such as 12GB, 8GiB or 500MiB".to_owned())
}

/// A share as the balance quality gives it: 0 or more; Petals takes more than 1 as "always move".
pub(crate) fn parse_quality(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(quality) if quality.is_finite() && quality >= 0.0 => Ok(quality),
        _ => Err("expected a number, 0 or more".to_owned()),
    }
}

/// A name for monitors: visible characters only, so that it cannot break their tables.
pub(crate) fn parse_public_name(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length == 0 || length > MAX_PUBLIC_NAME_CHARS {
        return Err(format!(
            "expected 1 to {MAX_PUBLIC_NAME_CHARS} characters, got {length}"
        ));
    }
    if text.chars().any(char::is_control) {
        return Err("control characters are not allowed".into());
    }
    Ok(text.to_owned())
}

/// Units of [`parse_size`], lower case, and their bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];
/// Longest duration a flag accepts: 30 days, so that deadlines never overflow.
const MAX_SECONDS: f64 = 30.0 * 24.0 * 3600.0;
/// What monitors show without cutting.
const MAX_PUBLIC_NAME_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_a_range_a_count_all_or_auto() {
        assert_eq!("0:20".parse(), Ok(Blocks::Range(0..20)));
        assert_eq!("12".parse(), Ok(Blocks::Count(12)));
        assert_eq!("ALL".parse(), Ok(Blocks::All));
        assert_eq!("auto".parse(), Ok(Blocks::Auto));
        for wrong in ["", "0", "5:5", "7:3", "a:b", "-1:4", "0:8,16:24", "1:2:3"] {
            assert!(wrong.parse::<Blocks>().is_err(), "{wrong} must be refused");
        }
    }

    #[test]
    fn throughput_is_a_word_or_a_finite_number() {
        assert_eq!("auto".parse(), Ok(Throughput::Auto));
        assert_eq!("dry_run".parse(), Ok(Throughput::DryRun));
        assert_eq!("10".parse(), Ok(Throughput::Fixed(10.0)));
        for wrong in ["-1", "nan", "inf", "fast"] {
            assert!(
                wrong.parse::<Throughput>().is_err(),
                "{wrong} must be refused"
            );
        }
    }

    #[test]
    fn compression_takes_petals_names() {
        use block_protocol::Compression;
        for (name, expected) in [
            ("NONE", Compression::None),
            ("MEANSTD_16BIT", Compression::MeanStd16),
            ("FLOAT16", Compression::Float16),
            ("QUANTILE_8BIT", Compression::Quantile8),
            ("uniform-8bit", Compression::Uniform8),
            ("BLOCKWISE_8BIT", Compression::Blockwise8),
        ] {
            assert_eq!(name.parse(), Ok(CompressionName(expected)));
        }
        assert!("zip".parse::<CompressionName>().is_err());
    }

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        for (text, bytes) in [
            ("500", 500),
            ("12GB", 12_000_000_000),
            ("8 gib", 8 << 30),
            ("64MiB", 64 << 20),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for wrong in [
            "",
            "0",
            "GB",
            "1.5GB",
            "-1GB",
            "1 XB",
            "99999999999TiB",
            "1GB2",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong} must be refused");
        }
    }

    #[test]
    fn a_quality_is_a_finite_share() {
        assert_eq!(parse_quality("0.75"), Ok(0.75));
        assert_eq!(parse_quality("2"), Ok(2.0));
        for wrong in ["-0.1", "nan", "inf", "much"] {
            assert!(parse_quality(wrong).is_err(), "{wrong} must be refused");
        }
    }

    #[test]
    fn seconds_and_names_are_bounded() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "nan", "inf", "1e9", "two"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong} must be refused");
        }
        assert!(parse_public_name("").is_err());
        assert!(parse_public_name(&"x".repeat(81)).is_err());
        assert!(parse_public_name("a\nb").is_err());
        assert_eq!(parse_public_name("alice"), Ok("alice".to_owned()));
    }
}
