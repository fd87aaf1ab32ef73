//! The command line before clap reads it: `_` in names becomes `-`, flags of other programs go, and a switch can be
//! turned off with `--switch=false`, whatever a file or a variable says.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use super::foreign::{Foreign, Treatment};
use super::value::as_switch;
use crate::error_report::Failure;
use crate::long_flag::LongFlag;

/// Result of preparing a command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    /// The arguments for our own parser, program name first.
    pub(super) args: Vec<OsString>,
    /// `--flag (why)` for each one dropped.
    pub(super) ignored: Vec<String>,
    /// Ids of the switches that were turned off.
    pub(super) off: Vec<String>,
}

/// Prepares `args` for `command`.
///
/// # Errors
/// A foreign flag that must not be ignored, or a switch that is neither on nor off (exit 2).
pub(super) fn prepare(
    args: impl IntoIterator<Item = OsString>,
    command: &Command,
    foreign: &[Foreign],
) -> Result<Prepared, Failure> {
    let mut args = args.into_iter().peekable();
    let mut prepared = Prepared {
        args: Vec::new(),
        ignored: Vec::new(),
        off: Vec::new(),
    };
    prepared.args.extend(args.next());
    while let Some(arg) = args.next() {
        // Everything after a bare `--` is positional.
        if arg == "--" {
            prepared.args.push(arg);
            prepared.args.extend(args);
            break;
        }
        let Some(flag) = LongFlag::read(&arg) else {
            prepared.args.push(arg);
            continue;
        };
        let Some(foreign) = foreign.iter().find(|foreign| foreign.name == flag.name) else {
            prepared.push_own(&flag, command)?;
            continue;
        };
        match foreign.treatment {
            Treatment::Refused(hint) => return Err(refused(&flag.name, hint)),
            Treatment::Ignored(why) => prepared.ignored.push(format!("--{} ({why})", flag.name)),
        }
        if flag.value.is_none() {
            for _ in 0..foreign.most_values {
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
    Ok(prepared)
}

impl Prepared {
    fn push_own(&mut self, flag: &LongFlag, command: &Command) -> Result<(), Failure> {
        let switch = flag.value.as_deref().zip(switch(command, &flag.name));
        let Some((value, switch)) = switch else {
            self.args.push(flag.rebuilt());
            return Ok(());
        };
        let name = &flag.name;
        match as_switch(value) {
            Some(true) => self.args.push(format!("--{name}").into()),
            Some(false) => self.off.push(switch.get_id().to_string()),
            None => {
                return Err(Failure::usage(format!(
                    "--{name} accepts true or false, got {value:?}"
                )));
            }
        }
        Ok(())
    }
}

/// The refusal of a flag or key.
pub(super) fn refused(name: &str, hint: &str) -> Failure {
    Failure::usage(format!("--{name} is not supported")).hint(hint)
}

/// The switch of that name, wherever in the program.
fn switch<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        let is_named = arg.get_long() == Some(name) || aliases.contains(&name);
        is_named && matches!(arg.get_action(), ArgAction::SetTrue)
    });
    own.or_else(|| {
        command
            .get_subcommands()
            .find_map(|inner| switch(inner, name))
    })
}

/// `command`, whose switches with these ids do not ask the environment.
pub(super) fn without_variables(command: Command, off: &[String]) -> Command {
    if off.is_empty() {
        return command;
    }
    command
        .mut_args(|arg| {
            if off.iter().any(|id| arg.get_id() == id.as_str()) {
                arg.env(None::<&'static str>)
            } else {
                arg
            }
        })
        .mut_subcommands(|inner| without_variables(inner, off))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREIGN: &[Foreign] = &[
        Foreign::ignored("num-handlers", 1, "one process serves all requests"),
        Foreign::ignored("no-auto-relay", 0, "none"),
        Foreign::refused("adapters", "leave the flag out"),
    ];

    fn prepared(line: &str) -> Result<Prepared, Failure> {
        let offline = Arg::new("offline")
            .long("offline")
            .action(ArgAction::SetTrue);
        let command = Command::new("bin").subcommand(Command::new("run").arg(offline));
        let args = line.split_whitespace().map(OsString::from);
        prepare(args, &command, FOREIGN)
    }

    #[test]
    fn underscores_become_dashes_in_names_only() {
        let result =
            prepared("bin --public_name a_b --identity_path=/x_y/k_z m_n -- --a_b").unwrap();
        let expected = [
            "bin",
            "--public-name",
            "a_b",
            "--identity-path=/x_y/k_z",
            "m_n",
            "--",
            "--a_b",
        ];
        assert_eq!(result.args, expected);
        assert!(result.ignored.is_empty());
    }

    #[test]
    fn foreign_flags_go_with_their_values() {
        let result =
            prepared("bin --num_handlers 8 --no_auto_relay model --num-handlers=2 --port 1")
                .unwrap();
        assert_eq!(result.args, ["bin", "model", "--port", "1"]);
        assert_eq!(result.ignored.len(), 3);
        assert!(result.ignored[0].starts_with("--num-handlers (one process"));
    }

    #[test]
    fn misleading_flags_are_refused_with_a_hint() {
        let failure = prepared("bin --adapters a b").unwrap_err();
        assert_eq!(failure.exit().code(), 2);
        assert_eq!(
            failure.to_string(),
            "error: --adapters is not supported\n  hint: leave the flag out"
        );
    }

    #[test]
    fn a_switch_is_turned_on_and_off_by_value() {
        assert_eq!(
            prepared("bin run --offline=yes").unwrap().args[2],
            "--offline"
        );
        let off = prepared("bin run --offline=false").unwrap();
        assert_eq!((off.args.len(), off.off), (2, vec!["offline".to_owned()]));
        assert!(prepared("bin run --offline=maybe").is_err());
    }
}
