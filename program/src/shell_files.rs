//! What a shell and `man` read about a program, made from its flags.

use clap::Command;
use clap_complete::Shell;

use crate::error_report::{Exit, Failure};

/// Flags of `completions`.
#[derive(Debug, Clone, clap::Args)]
pub struct CompletionsFlags {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Flags of `man`.
#[derive(Debug, Clone, clap::Args)]
pub struct ManFlags {
    /// Which subcommand [default: the program itself]
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

/// The script that completes the flags of `command` in a shell.
pub fn completions(mut command: Command, flags: &CompletionsFlags) -> String {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page of `command` or of one of its subcommands, for `man -l`.
///
/// # Errors
/// No such subcommand (exit 2).
pub fn manual(mut command: Command, flags: &ManFlags) -> Result<String, Failure> {
    command.build();
    let command = told_in_full(command);
    let page = match flags.command.as_deref() {
        None => command,
        Some(name) => {
            let inner = command.find_subcommand(name).cloned().ok_or_else(|| {
                let names = command.get_subcommands().map(Command::get_name);
                let names: Vec<_> = names.filter(|name| *name != "help").collect();
                Failure::usage(format!("there is no command {name}"))
                    .hint(format!("one of {}", names.join(", ")))
            })?;
            let title = format!("{}-{name}", command.get_name());
            inner.display_name(title)
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|error| {
            Failure::new(Exit::Software, "the manual page cannot be made").caused_by(&error)
        })?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Every flag as `--help` has it: also those that `-h` leaves out, and their variables.
fn told_in_full(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            if let Some(variable) = arg.get_env() {
                help.push_str(&format!(" [env: {}]", variable.to_string_lossy()));
            }
            arg.help(help.clone())
                .long_help(help)
                .hide_short_help(false)
        })
        .mut_subcommands(told_in_full)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    fn command() -> Command {
        let flag = Arg::new("fast").long("fast").action(ArgAction::SetTrue);
        let flag = flag.hide_short_help(true).env("BIN_TEST_FAST");
        Command::new("bin")
            .arg(flag.clone().help("Runs fast"))
            .subcommand(Command::new("go").arg(flag.help("Goes fast")))
    }

    #[test]
    fn every_shell_learns_the_flags() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::Elvish,
            Shell::PowerShell,
        ] {
            let script = completions(command(), &CompletionsFlags { shell });
            assert!(script.contains("fast"), "{shell}: {script}");
        }
    }

    #[test]
    fn pages_are_of_the_program_or_of_a_subcommand() {
        let page = |name: Option<&str>| {
            let command_name = name.map(ToOwned::to_owned);
            manual(
                command(),
                &ManFlags {
                    command: command_name,
                },
            )
        };
        assert!(
            page(None)
                .unwrap()
                .contains("Runs fast [env: BIN_TEST_FAST]")
        );
        assert!(page(Some("go")).unwrap().contains("Goes fast"));
        let failure = page(Some("stay")).unwrap_err().to_string();
        assert!(failure.contains("hint: one of go"), "{failure}");
    }
}
