//! `swarm chat`: a conversation with a model, turn by turn.
//!
//! On a terminal it is a prompt with a history. From a pipe every line is a turn, and the first failure ends it.
//! Answers go to standard output, all else to standard error.

mod command;
mod conversation;
mod history;
mod interrupts;
mod lines;
mod settings;

use std::io::IsTerminal;

use block_program::Failure;
use block_program::amounts::rate;

use crate::cli::ChatFlags;
use crate::ending::Ending;
use crate::membership;
use crate::model_session::Ready;
use crate::output::{self, remark};
use crate::wording::Wording;

use command::{Command, Shown};
use conversation::{Conversation, Turn};
use interrupts::{Asked, Interrupts};
use lines::{Lines, Typed};
use settings::Settings;

/// Talks until the person leaves.
///
/// # Errors
/// What went wrong; at a terminal only what no other turn could mend.
pub(crate) async fn run(flags: ChatFlags) -> Result<(), Ending> {
    let peers = membership::initial_peers(&flags.swarm)?;
    let settings = Settings::new(&flags);
    settings.check().map_err(Failure::usage)?;
    if flags.stop.iter().any(String::is_empty) {
        return Err(Failure::usage("--stop must not be empty").into());
    }
    let mut interrupts = Interrupts::take_over()?;
    let preparing = Ready::prepare(&flags.model, &flags.swarm, peers);
    let ready = tokio::select! {
        ready = preparing => ready?,
        _ = interrupts.next() => return Err(Ending::Interrupted),
    };
    let swarm = ready.swarm.clone();
    let mut talk = Talk::begin(flags, ready, settings, interrupts)?;
    let ended = talk.go_on().await;
    talk.conversation.close().await;
    swarm.shutdown().await;
    ended
}

/// A conversation and who holds it.
struct Talk {
    model: String,
    conversation: Conversation,
    settings: Settings,
    lines: Lines,
    interrupts: Interrupts,
    /// Whether route and speed are told after each answer.
    is_verbose: bool,
}

impl Talk {
    fn begin(
        flags: ChatFlags,
        ready: Ready,
        settings: Settings,
        interrupts: Interrupts,
    ) -> Result<Self, Failure> {
        let wording = Wording::of(&ready.local, flags.raw)?;
        let mut conversation = Conversation::new(ready, flags.way, wording, flags.max_length);
        if let Some(system) = &flags.system {
            conversation.set_system(system)?;
        }
        let has_history = !flags.no_history && std::io::stdin().is_terminal();
        let history = has_history.then(history::file).transpose()?;
        let lines = Lines::of_stdin(history.as_deref())?;
        if lines.is_terminal {
            remark(&greeting(&flags.model.model, wording));
        }
        Ok(Self {
            model: flags.model.model,
            conversation,
            settings,
            lines,
            interrupts,
            is_verbose: std::io::stderr().is_terminal(),
        })
    }

    async fn go_on(&mut self) -> Result<(), Ending> {
        loop {
            let typed = self.typed().await?;
            let text = match typed {
                Typed::Text(text) => text,
                Typed::Interrupted => {
                    remark("Ctrl-D or /bye leaves");
                    continue;
                }
                Typed::End => return Ok(()),
            };
            let done = match Command::parse(&text) {
                Command::Bye => return Ok(()),
                command => self.obey(command).await,
            };
            match done {
                Err(Ending::Failed(failure)) if self.lines.is_terminal => {
                    remark(&failure.to_string());
                }
                other => other?,
            }
        }
    }

    /// The next text.
    async fn typed(&mut self) -> Result<Typed, Ending> {
        let next = self.lines.next();
        tokio::pin!(next);
        loop {
            tokio::select! {
                typed = &mut next => return Ok(typed?),
                asked = self.interrupts.next() => match asked {
                    // Meant for an answer that ended just before: at its prompt, a terminal sends a key instead.
                    Asked::ToStop if self.lines.is_terminal => {}
                    Asked::ToStop | Asked::ToLeave => return Err(Ending::Interrupted),
                },
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), Ending> {
        match command {
            Command::Say(text) => self.say(&text).await?,
            Command::System(text) => self.conversation.set_system(&text)?,
            Command::Parameter(change) => {
                let changed = self.settings.change(change);
                changed.map_err(Failure::usage)?;
            }
            Command::Show(shown) => output::text(&self.shown(shown))?,
            Command::Verbose(is_verbose) => self.is_verbose = is_verbose,
            Command::Clear => self.conversation.clear().await,
            Command::Help => output::text(command::HELP)?,
            Command::Wrong(reason) => return Err(Failure::usage(reason).into()),
            Command::Nothing | Command::Bye => {}
        }
        Ok(())
    }

    async fn say(&mut self, text: &str) -> Result<(), Ending> {
        let answering = self
            .conversation
            .answer(text, &self.settings, &mut self.interrupts);
        let Some(turn) = answering.await? else {
            return Ok(());
        };
        if self.is_verbose {
            remark(&dim(&told(&turn)));
        }
        turn.ended
    }

    fn shown(&self, shown: Shown) -> String {
        let conversation = &self.conversation;
        let local = &conversation.ready().local;
        match shown {
            Shown::Route => match conversation.stats() {
                Some(stats) => stats
                    .route
                    .iter()
                    .map(|stop| {
                        format!("{}:{} {}\n", stop.blocks.start, stop.blocks.end, stop.peer)
                    })
                    .collect(),
                None => "no session: one opens with the next text\n".to_owned(),
            },
            Shown::Model => format!(
                "model         {}\nfamily        {}\nblocks        {}\ntemplate      {}\nconversation  {} of {} tokens\n",
                self.model,
                local.config.family.model_type(),
                local.config.num_blocks,
                match conversation.wording() {
                    Wording::Template => "the model's own",
                    Wording::Plain => "none: text goes on as it is",
                },
                conversation.len(),
                conversation.max_length(),
            ),
            Shown::Parameters => self.settings.in_words(local.generation_defaults()),
            Shown::System => format!("{}\n", conversation.system().unwrap_or("none")),
        }
    }
}

fn greeting(model: &str, wording: Wording) -> String {
    let plain = match wording {
        Wording::Template => "",
        Wording::Plain => "\nNo chat template: the model goes on with what you type.",
    };
    format!(
        "{model}: /? for help, /bye to leave{plain}\n\
         Servers see numbers made from your text and can recover much of it."
    )
}

/// What is told after an answer.
fn told(turn: &Turn) -> String {
    let stops = turn.stats.route.iter().map(|stop| {
        let peer = stop.peer.to_string();
        let hidden = peer.len().saturating_sub(PEER_CHARS);
        let tail = peer.get(hidden..).unwrap_or_default();
        format!("{}:{} …{tail}", stop.blocks.start, stop.blocks.end)
    });
    let stops: Vec<String> = stops.collect();
    let first = turn.first_after.map_or_else(
        || "no token".to_owned(),
        |first| format!("first token {:.2} s", first.as_secs_f64()),
    );
    let speed = turn
        .finished
        .tokens_per_second()
        .map_or_else(String::new, |speed| format!("  {} tok/s", rate(speed)));
    format!(
        "{}  {first}{speed}  {} tokens sent, {} answered",
        stops.join(" → "),
        turn.sent,
        turn.finished.ids.len()
    )
}

/// Less bright, where a terminal can do that and its owner wants it.
fn dim(text: &str) -> String {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if is_plain || !std::io::stderr().is_terminal() {
        return text.to_owned();
    }
    format!("\u{1b}[2m{text}\u{1b}[0m")
}

/// Last characters of a peer id that are shown: enough to tell peers apart.
const PEER_CHARS: usize = 8;
