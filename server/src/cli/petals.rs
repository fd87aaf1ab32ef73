//! Command lines written for Petals' `run_server`: spellings, flags that mean
//! nothing here, and flags that are refused because ignoring them would mislead.

use std::ffi::OsString;

use block_program::Failure;
use block_program::long_flag::LongFlag;

/// How a flag of Petals that we do not have is treated.
enum Treatment {
    /// Dropped with one notice; the text says why nothing is lost.
    Ignored(&'static str),
    /// Ends the program; the text is the hint.
    Refused(&'static str),
}

/// A flag of Petals without a counterpart here: name, how many values it takes
/// at most, what happens to it.
struct Foreign(&'static str, usize, Treatment);

/// Result of reading a command line the Petals way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Translated {
    /// The arguments for our own parser, program name first.
    pub(crate) args: Vec<OsString>,
    /// `--flag (why)` for each one dropped.
    pub(crate) ignored: Vec<String>,
}

/// Turns `--some_flag` into `--some-flag`, drops foreign flags.
///
/// # Errors
/// A foreign flag that must not be ignored; the failure says what to do instead.
pub(crate) fn translate(args: impl IntoIterator<Item = OsString>) -> Result<Translated, Failure> {
    let mut args = args.into_iter().peekable();
    let mut translated = Translated {
        args: Vec::new(),
        ignored: Vec::new(),
    };
    translated.args.extend(args.next());
    while let Some(arg) = args.next() {
        // Everything after a bare `--` is positional.
        if arg == "--" {
            translated.args.push(arg);
            translated.args.extend(args);
            break;
        }
        let Some(flag) = LongFlag::read(&arg) else {
            translated.args.push(arg);
            continue;
        };
        let Some(Foreign(_, most_values, treatment)) =
            FOREIGN.iter().find(|foreign| foreign.0 == flag.name)
        else {
            translated.args.push(flag.rebuilt());
            continue;
        };
        match treatment {
            Treatment::Refused(hint) => {
                return Err(Failure::usage(format!("--{} is not supported", flag.name)).hint(*hint));
            }
            Treatment::Ignored(why) => translated.ignored.push(format!("--{} ({why})", flag.name)),
        }
        if flag.value.is_none() {
            for _ in 0..*most_values {
                // A value never starts with a dash in Petals' own examples, a flag always does.
                if args
                    .next_if(|next| !next.to_string_lossy().starts_with('-'))
                    .is_none()
                {
                    break;
                }
            }
        }
    }
    Ok(translated)
}

/// Source: `petals/cli/run_server.py` of petals 2.2.0.post1 and of its main branch.
const FOREIGN: &[Foreign] = &[
    Foreign(
        "num-handlers",
        1,
        Treatment::Ignored("one process serves all requests"),
    ),
    Foreign(
        "prefetch-batches",
        1,
        Treatment::Ignored("batches are always prepared ahead"),
    ),
    Foreign(
        "sender-threads",
        1,
        Treatment::Ignored("replies are always sent in parallel"),
    ),
    Foreign(
        "increase-file-limit",
        1,
        Treatment::Ignored("the file limit is always raised"),
    ),
    Foreign(
        "stats-report-interval",
        1,
        Treatment::Ignored("see /metrics on the admin port"),
    ),
    Foreign(
        "daemon-startup-timeout",
        1,
        Treatment::Ignored("there is no daemon"),
    ),
    Foreign(
        "min-batch-size",
        1,
        Treatment::Ignored("it has no effect in Petals either"),
    ),
    Foreign(
        "max-chunk-size-bytes",
        1,
        Treatment::Ignored("prompts are cut by the scheduler"),
    ),
    Foreign(
        "no-auto-relay",
        0,
        Treatment::Ignored("relays are not used in this version"),
    ),
    Foreign(
        "no-relay",
        0,
        Treatment::Ignored("relays are not used in this version"),
    ),
    Foreign(
        "use-auth-token",
        0,
        Treatment::Ignored("a saved hub token is always used"),
    ),
    Foreign(
        "custom-module-path",
        1,
        Treatment::Refused("code from files is never loaded; leave the flag out"),
    ),
    Foreign(
        "tensor-parallel-devices",
        usize::MAX,
        Treatment::Refused("start one server per device with its own --blocks"),
    ),
    Foreign(
        "adapters",
        usize::MAX,
        Treatment::Refused("adapters are not in this version; leave the flag out"),
    ),
    Foreign(
        "max-disk-space",
        1,
        Treatment::Refused(
            "the hub cache is not trimmed in this version; --blocks decides how much is downloaded",
        ),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Result<Translated, Failure> {
        translate(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn underscores_become_dashes_in_names_only() {
        let result = translated("bin --public_name a_b --identity_path=/x_y/k_z m_n").unwrap();
        assert_eq!(
            result.args,
            [
                "bin",
                "--public-name",
                "a_b",
                "--identity-path=/x_y/k_z",
                "m_n"
            ]
        );
        assert!(result.ignored.is_empty());
    }

    #[test]
    fn foreign_flags_go_with_their_values() {
        let result = translated("bin --num_handlers 8 --no_auto_relay model --sender_threads=2 --use_auth_token --port 1").unwrap();
        assert_eq!(result.args, ["bin", "model", "--port", "1"]);
        assert_eq!(result.ignored.len(), 4);
        assert!(result.ignored[0].starts_with("--num-handlers (one process"));
    }

    #[test]
    fn misleading_flags_are_refused_with_a_hint() {
        for line in [
            "bin --adapters a b",
            "bin --custom_module_path x.py",
            "bin --max_disk_space 50GB",
        ] {
            let failure = translated(line).unwrap_err();
            assert_eq!(failure.exit().code(), 2);
            assert!(failure.to_string().contains("hint: "), "{failure}");
        }
    }

    #[test]
    fn arguments_after_a_bare_double_dash_are_left_alone() {
        let result = translated("bin -- --num_handlers").unwrap();
        assert_eq!(result.args, ["bin", "--", "--num_handlers"]);
    }
}
