//! What a line means that a person types. Pure.

use super::settings::Change;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    /// Say this to the model.
    Say(String),
    /// Replace the system message; an empty text takes it away.
    System(String),
    /// Change a parameter.
    Parameter(Change),
    /// Print this.
    Show(Shown),
    /// Whether route and speed are told after each answer.
    Verbose(bool),
    /// Forget the conversation.
    Clear,
    /// Print the list of commands.
    Help,
    /// Leave.
    Bye,
    /// Nothing was typed.
    Nothing,
    /// Tell this, and do nothing.
    Wrong(String),
}

/// What can be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Route,
    Model,
    Parameters,
    System,
}

impl Command {
    /// Reads a line, or a block of them.
    pub(super) fn parse(line: &str) -> Self {
        let trimmed = line.trim();
        if trimmed.is_empty() {
            return Self::Nothing;
        }
        if !trimmed.starts_with('/') {
            return Self::Say(unquoted(line).to_owned());
        }
        let (word, rest) = split(trimmed);
        match (word, rest) {
            ("/bye" | "/exit", "") => Self::Bye,
            ("/clear", "") => Self::Clear,
            ("/?" | "/help", _) => Self::Help,
            ("/set", rest) => set(rest),
            ("/show", rest) => match rest {
                "route" => Self::Show(Shown::Route),
                "model" | "info" => Self::Show(Shown::Model),
                "parameters" => Self::Show(Shown::Parameters),
                "system" => Self::Show(Shown::System),
                _ => Self::Wrong("/show route, model, parameters or system".to_owned()),
            },
            _ => Self::Wrong(format!("no command {word}; /? lists them")),
        }
    }
}

fn set(rest: &str) -> Command {
    let (what, rest) = split(rest);
    match what {
        "system" => Command::System(unquoted(rest).trim().to_owned()),
        "parameter" => {
            let (name, value) = split(rest);
            match Change::parse(name, value) {
                Ok(change) => Command::Parameter(change),
                Err(reason) => Command::Wrong(reason),
            }
        }
        "verbose" => Command::Verbose(true),
        "quiet" => Command::Verbose(false),
        _ => Command::Wrong(
            "/set system TEXT, /set parameter NAME VALUE, /set verbose or /set quiet".to_owned(),
        ),
    }
}

/// The first word, and what follows it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

/// Whether more lines belong to what has been typed so far: a block in `"""` that is not closed.
pub(super) fn is_open(typed: &str) -> bool {
    let body = argument(typed);
    match body.strip_prefix(QUOTES) {
        Some(inside) => !inside.trim_end().ends_with(QUOTES),
        None => false,
    }
}

/// The part that may be a block: the whole, or what `/set system` is given.
fn argument(typed: &str) -> &str {
    let trimmed = typed.trim_start();
    let (word, rest) = split(trimmed);
    match (word, split(rest)) {
        ("/set", ("system", text)) => text,
        _ => trimmed,
    }
}

/// A block without its quotes; other text as it is.
fn unquoted(text: &str) -> &str {
    let block = text.trim().strip_prefix(QUOTES);
    match block.and_then(|inside| inside.strip_suffix(QUOTES)) {
        Some(inside) => inside.trim_matches('\n'),
        None => text,
    }
}

const QUOTES: &str = "\"\"\"";

/// What `/?` prints.
pub(super) const HELP: &str = "\
/set system TEXT            what the model is told before all else; without a text: nothing
/set parameter NAME VALUE   how it answers; /show parameters lists the names
/set verbose, /set quiet    tell route and speed after each answer, or not
/show route                 the servers that the conversation goes through
/show model, parameters, system
/clear                      forget the conversation
/bye                        leave; Ctrl-D does the same
\"\"\"                         begins and ends a text of several lines
Ctrl-C                      ends the answer
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_said_unless_they_begin_with_a_slash() {
        assert_eq!(Command::parse("  "), Command::Nothing);
        assert_eq!(Command::parse(" hello"), Command::Say(" hello".to_owned()));
        assert_eq!(Command::parse("/bye"), Command::Bye);
        assert_eq!(Command::parse("/clear "), Command::Clear);
        assert_eq!(Command::parse("/?"), Command::Help);
        assert_eq!(Command::parse("/show route"), Command::Show(Shown::Route));
        assert_eq!(
            Command::parse("/set system  Be brief. "),
            Command::System("Be brief.".to_owned())
        );
        assert_eq!(Command::parse("/set quiet"), Command::Verbose(false));
        for wrong in ["/shrug", "/show", "/set", "/set parameter x 1", "/bye now"] {
            let told = Command::parse(wrong);
            assert!(matches!(told, Command::Wrong(_)), "{wrong}: {told:?}");
        }
    }

    #[test]
    fn a_block_goes_on_until_its_quotes_are_closed() {
        for open in ["\"\"\"", "\"\"\"one", "\"\"\"one\n", "/set system \"\"\"be"] {
            assert!(is_open(open), "{open}");
        }
        for closed in [
            "one",
            "\"\"\"one\"\"\"",
            "\"\"\"one\ntwo\"\"\"",
            "\"\"\"\"\"\"",
        ] {
            assert!(!is_open(closed), "{closed}");
        }
        assert_eq!(
            Command::parse("\"\"\"one\n/two\n\"\"\""),
            Command::Say("one\n/two".to_owned())
        );
        assert_eq!(
            Command::parse("/set system \"\"\"one\ntwo\"\"\""),
            Command::System("one\ntwo".to_owned())
        );
        assert_eq!(
            Command::parse("say \"\"\"this\"\"\""),
            Command::Say("say \"\"\"this\"\"\"".to_owned())
        );
    }
}
