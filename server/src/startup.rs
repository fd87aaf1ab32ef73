//! The start lines: what the operator reads until the server is online.
//!
//! On a terminal each is an aligned line, in a pipe a log event with fields. All go
//! to stderr; stdout gets the one line `READY <multiaddr>` and nothing else.

mod lines;

use std::io::Write;
use std::ops::Range;

use block_program::{StartLook, amounts::shell_word};
use tracing::info;

pub(crate) use lines::{
    AdminLine, DeviceLine, LoadLine, MeasureLine, ModelLine, OnlineLine, PlanLine, ProgramLine,
    ReachLine, StartLine,
};

/// Where start lines go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartLines {
    look: StartLook,
}

impl StartLines {
    /// Start lines with the given look.
    pub(crate) const fn new(look: StartLook) -> Self {
        Self { look }
    }

    /// Whether progress bars may be drawn.
    pub(crate) fn is_terminal(self) -> bool {
        self.look == StartLook::Lines
    }

    /// Tells one line.
    pub(crate) fn tell(self, line: &impl StartLine) {
        match self.look {
            StartLook::Lines => write_line(&line.pretty()),
            StartLook::Events => line.log(),
        }
    }

    /// Tells how to go on: the next machine, a client, the admin port, the end.
    pub(crate) fn tell_next_steps(self, next: &NextSteps<'_>) {
        match self.look {
            StartLook::Lines => {
                write_line("");
                for (title, text) in next.paragraphs() {
                    write_line(&format!("{title}\n  {text}"));
                }
                write_line("Stop: Ctrl-C (again to stop at once)");
            }
            StartLook::Events => {
                for (title, text) in next.paragraphs() {
                    info!(hint = %text, "{}", title.trim_end_matches(':').to_lowercase());
                }
            }
        }
    }
}

/// A closed stderr is no reason to stop serving.
fn write_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// How to go on once online.
#[derive(Debug)]
pub(crate) struct NextSteps<'a> {
    /// Model as the operator named it.
    pub(crate) model: &'a str,
    /// Whether the model is a folder, whose path another machine may have elsewhere.
    pub(crate) is_local: bool,
    /// Key prefix.
    pub(crate) prefix: &'a str,
    /// Whether another machine would derive another prefix from the model's name.
    pub(crate) prefix_is_given: bool,
    /// `--dtype` if it was given.
    pub(crate) dtype: Option<&'a str>,
    /// The first blocks that lack a server.
    pub(crate) gap: Option<Range<usize>>,
    /// Address to join through, with `/p2p/`.
    pub(crate) address: &'a str,
    /// Whether others join by finding this server on the local network.
    pub(crate) is_on_lan: bool,
    /// Whether `address` is only valid on this machine.
    pub(crate) is_loopback: bool,
}

impl NextSteps<'_> {
    /// The exact command for the next server.
    pub(crate) fn next_server(&self) -> String {
        let mut command = format!("block-server --model {}", shell_word(self.model));
        // Where nothing is missing, the next server chooses for itself.
        if let Some(gap) = &self.gap {
            command.push_str(&format!(" --blocks {}:{}", gap.start, gap.end));
        }
        if self.prefix_is_given {
            command.push_str(&format!(" --dht-prefix {}", shell_word(self.prefix)));
        }
        if let Some(dtype) = self.dtype {
            command.push_str(&format!(" --dtype {dtype}"));
        }
        if self.is_loopback {
            // Both run on this machine then, so the default ports are taken.
            command.push_str(" --port 0 --admin-listen 127.0.0.1:0 --identity second.key");
        }
        command.push_str(&format!(" {}", self.flag_to_join()));
        command
    }

    fn flag_to_join(&self) -> String {
        if self.is_on_lan {
            "--lan".to_owned()
        } else {
            format!("--initial-peers {}", self.address)
        }
    }

    /// A Python Petals client of this swarm.
    fn python_client(&self) -> String {
        format!(
            "petals.AutoDistributedModelForCausalLM.from_pretrained(\"{}\", initial_peers=[\"{}\"], dht_prefix=\"{}\")",
            self.model, self.address, self.prefix
        )
    }

    /// Our own client; its command takes the prefix where the model's name does not tell it.
    fn client(&self) -> String {
        let prefix = if self.prefix_is_given {
            format!(" --dht-prefix {}", shell_word(self.prefix))
        } else {
            String::new()
        };
        let model = shell_word(self.model);
        format!(
            "swarm run {model} \"Once upon a time\"{prefix} {}",
            self.flag_to_join()
        )
    }

    fn paragraphs(&self) -> [(&'static str, String); 3] {
        let title = match (self.is_loopback, self.is_local) {
            (true, _) => "Add another server on this machine with:",
            (false, true) => "Add another machine, with the same model folder there, with:",
            (false, false) => "Add another machine with:",
        };
        [
            (title, self.next_server()),
            ("Use it with:", self.client()),
            ("Use it from Python with:", self.python_client()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(gap: Option<Range<usize>>) -> NextSteps<'static> {
        NextSteps {
            model: "org/name",
            is_local: false,
            prefix: "name-hf",
            prefix_is_given: false,
            dtype: None,
            gap,
            address: "/ip4/1.2.3.4/tcp/5/p2p/x",
            is_on_lan: false,
            is_loopback: false,
        }
    }

    #[test]
    fn the_next_server_takes_what_is_missing() {
        assert_eq!(
            steps(Some(20..32)).next_server(),
            "block-server --model org/name --blocks 20:32 --initial-peers /ip4/1.2.3.4/tcp/5/p2p/x"
        );
        assert_eq!(
            steps(None).next_server(),
            "block-server --model org/name --initial-peers /ip4/1.2.3.4/tcp/5/p2p/x"
        );
    }

    #[test]
    fn the_next_machine_of_a_local_network_needs_no_address() {
        let next = NextSteps {
            is_on_lan: true,
            ..steps(None)
        };
        assert_eq!(next.next_server(), "block-server --model org/name --lan");
        assert_eq!(
            next.client(),
            "swarm run org/name \"Once upon a time\" --lan"
        );
    }

    #[test]
    fn the_next_server_repeats_what_it_could_not_guess() {
        let next = NextSteps {
            model: "my model",
            prefix_is_given: true,
            dtype: Some("f32"),
            is_loopback: true,
            ..steps(Some(20..32))
        };
        let command = next.next_server();
        assert_eq!(
            next.client(),
            "swarm run 'my model' \"Once upon a time\" --dht-prefix name-hf --initial-peers /ip4/1.2.3.4/tcp/5/p2p/x"
        );
        for part in [
            "--model 'my model'",
            "--dht-prefix name-hf",
            "--dtype f32",
            "--port 0",
        ] {
            assert!(command.contains(part), "{part} in {command}");
        }
    }
}
