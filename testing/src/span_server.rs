//! A server of either kind: ours or Python's, told apart by nothing that a client does with it.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::block_server::{BlockServer, Contact, Span};
use crate::folders::temporary;
use crate::python_peer::{PythonPeer, Role};

/// Who implements a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// `block-server`.
    Ours,
    /// Petals, in float32.
    Petals,
}

/// A server to be started.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name in logs, different from every other of the test.
    pub name: String,
    /// Who implements it.
    pub maker: Maker,
    /// The folder of the model.
    pub model: PathBuf,
    /// The DHT prefix of the model.
    pub prefix: String,
    /// First and end, half-open.
    pub blocks: (u32, u32),
    /// As the flag of ours spells it; Python servers compute in float32.
    pub dtype: &'static str,
    /// More flags of ours.
    pub flags: Vec<&'static str>,
}

/// A server that is online.
#[derive(Debug)]
pub struct SpanServer {
    /// First and end, half-open.
    pub blocks: (u32, u32),
    /// By what others know it.
    pub contact: Contact,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Ours(BlockServer),
    Petals(PythonPeer),
}

/// Starts all servers side by side and waits until each is online.
pub fn start_all(wanted: &[Wanted], bootstrap: &str) -> Vec<SpanServer> {
    let spawn = |wanted: &Wanted| match wanted.maker {
        Maker::Petals => Process::Petals(PythonPeer::spawn(&wanted.name, Role::Server)),
        Maker::Ours => {
            let (first, end) = wanted.blocks;
            let span = Span {
                prefix: &wanted.prefix,
                blocks: &format!("{first}:{end}"),
                dtype: wanted.dtype,
                flags: &wanted.flags,
            };
            Process::Ours(BlockServer::spawn(
                &wanted.name,
                &wanted.model,
                &span,
                bootstrap,
            ))
        }
    };
    let processes: Vec<Process> = wanted.iter().map(spawn).collect();
    for (wanted, process) in wanted.iter().zip(&processes) {
        if let Process::Petals(peer) = process {
            let (first, end) = wanted.blocks;
            peer.await_ready();
            let record = temporary(&format!("{}.wire", wanted.name));
            // An earlier run's.
            drop(std::fs::remove_file(&record));
            let span = json!({
                "model": wanted.model,
                "prefix": wanted.prefix,
                "blocks": format!("{first}:{end}"),
                "initial_peers": [bootstrap],
                "record": record,
            });
            // Answered in order: the contact comes when the server is online.
            peer.begin("start", span);
        }
    }
    let await_online = |(wanted, process): (&Wanted, Process)| {
        let contact = match &process {
            Process::Ours(server) => server.await_ready(),
            Process::Petals(peer) => {
                let contact: Value = peer.call("contact", json!({}));
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                Contact {
                    peer_id: text(&contact["peer_id"]),
                    address: text(&contact["addresses"][0]),
                }
            }
        };
        SpanServer {
            blocks: wanted.blocks,
            contact,
            process,
        }
    };
    wanted.iter().zip(processes).map(await_online).collect()
}

impl SpanServer {
    /// SIGKILL to the server and all that belongs to it: no farewell to anybody.
    pub fn kill(&self) {
        match &self.process {
            Process::Ours(server) => server.kill(),
            Process::Petals(peer) => peer.kill(),
        }
    }

    /// SIGSTOP to the server and all that belongs to it: connections stay open and nothing answers.
    pub fn pause(&self) {
        match &self.process {
            Process::Ours(server) => server.pause(),
            Process::Petals(peer) => peer.pause(),
        }
    }

    /// What a server of ours has logged so far; nothing for one of Python's.
    pub fn log(&self) -> String {
        match &self.process {
            Process::Ours(server) => server.log(),
            Process::Petals(_) => String::new(),
        }
    }

    /// How hidden states travelled in the sessions of a server of Python's, see `scripts/peers/wire_record.py`.
    pub fn recorded(&self) -> Vec<Value> {
        match &self.process {
            Process::Ours(_) => Vec::new(),
            Process::Petals(peer) => peer.call("recorded", json!({})),
        }
    }
}
