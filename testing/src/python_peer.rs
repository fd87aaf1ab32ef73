//! A Python peer that answers JSON lines (see `scripts/peers/channel.py`).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::child::Child;
use crate::folders::repository;
use crate::janitor::{self, Farewell};

/// What a peer is; its requests are the methods of the class in `scripts/peers/{role}_peer.py`.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    /// A DHT node.
    Dht,
    /// A Petals server.
    Server,
    /// A Petals client beside transformers itself.
    Client,
    /// What the health monitor sees.
    Monitor,
}

/// A process of one Python peer.
#[derive(Debug)]
pub struct PythonPeer {
    child: Child,
    requests: Mutex<ChildStdin>,
    waiting: Waiting,
    next_id: AtomicU64,
    ready: Mutex<Receiver<Value>>,
}

/// A request on its way.
#[derive(Debug)]
pub struct Reply<'a> {
    peer: &'a PythonPeer,
    request: String,
    answer: Receiver<Value>,
}

type Waiting = Arc<Mutex<HashMap<u64, SyncSender<Value>>>>;

/// The identifier under which a peer's first line, which answers nobody, is awaited.
const READY: u64 = 0;

impl PythonPeer {
    /// Starts the process; its imports take seconds, so callers start all of theirs and then
    /// [`await_ready`](Self::await_ready).
    pub fn spawn(name: &str, role: Role) -> Self {
        let role = match role {
            Role::Dht => "dht",
            Role::Server => "server",
            Role::Client => "client",
            Role::Monitor => "monitor",
        };
        let mut command = Command::new(janitor::python());
        command
            .arg(repository().join("scripts/peers/peer.py"))
            .arg(role)
            .arg(janitor::scratch());
        let mut child = Child::spawn(name, command, Farewell::EndOfInput);
        let requests = Mutex::new(child.take_stdin());
        let (sender, ready) = sync_channel(1);
        let waiting = Waiting::new(Mutex::new(HashMap::from([(READY, sender)])));
        let stdout = child.take_stdout();
        let of_reader = Arc::clone(&waiting);
        thread::spawn(move || deliver(stdout, &of_reader));
        Self {
            child,
            requests,
            waiting,
            next_id: AtomicU64::new(READY + 1),
            ready: Mutex::new(ready),
        }
    }

    /// Returns once the peer takes requests.
    pub fn await_ready(&self) {
        if let Err(error) = self.ready.lock().unwrap().recv_timeout(PATIENCE) {
            panic!(
                "{}",
                self.child.complaint(&format!("was not ready: {error}"))
            );
        }
    }

    /// Sends a request without waiting for its answer.
    pub fn begin(&self, action: &str, arguments: Value) -> Reply<'_> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let Value::Object(mut request) = arguments else {
            panic!("arguments are an object")
        };
        request.insert("id".into(), json!(id));
        request.insert("do".into(), json!(action));
        let request = Value::from(request).to_string();
        let (sender, answer) = sync_channel(1);
        self.waiting.lock().unwrap().insert(id, sender);
        if let Err(error) = writeln!(self.requests.lock().unwrap(), "{request}") {
            panic!(
                "{}",
                self.child.complaint(&format!("takes no requests: {error}"))
            );
        }
        Reply {
            peer: self,
            request,
            answer,
        }
    }

    /// Sends a request and waits for its answer; an error of the peer fails the test.
    pub fn call<T: DeserializeOwned>(&self, action: &str, arguments: Value) -> T {
        self.begin(action, arguments).wait()
    }

    /// SIGKILL to the peer, its DHT process and its libp2p daemon.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// SIGSTOP to the peer, its DHT process and its libp2p daemon.
    pub fn pause(&self) {
        self.child.pause();
    }

    /// Ends the peer's input and waits until none of its processes is left.
    pub fn finish(self) {
        drop(self.requests);
        self.child.await_end();
    }
}

impl Reply<'_> {
    /// Waits for the answer; an error of the peer fails the test.
    pub fn wait<T: DeserializeOwned>(self) -> T {
        let Self {
            peer,
            request,
            answer,
        } = self;
        let complain = |what: &str| -> ! {
            panic!("{}", peer.child.complaint(&format!("{what} to {request}")))
        };
        match answer.recv_timeout(PATIENCE) {
            Ok(mut message) => match message.get_mut("ok") {
                Some(result) => serde_json::from_value(result.take())
                    .unwrap_or_else(|error| complain(&format!("unexpected answer ({error})"))),
                None => complain(&format!("answered {}", message["error"])),
            },
            Err(RecvTimeoutError::Timeout) => {
                peer.child.write_stacks();
                complain("no answer")
            }
            Err(RecvTimeoutError::Disconnected) => complain("ended instead of an answer"),
        }
    }
}

fn deliver(stdout: ChildStdout, waiting: &Waiting) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let message: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        let id = message.get("id").and_then(Value::as_u64).unwrap_or(READY);
        if let Some(sender) = waiting.lock().unwrap().remove(&id) {
            // A test that has given up reads no more.
            drop(sender.try_send(message));
        }
    }
    waiting.lock().unwrap().clear();
}
