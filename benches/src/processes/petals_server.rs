//! One real Petals server (`scripts/peers/peer.py server`), as published on PyPI.

use std::io::{BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Holding, next_line, repository};

/// A running server, online.
#[derive(Debug)]
pub(crate) struct PetalsServer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    requests: u64,
    _scratch: TempDir,
}

impl PetalsServer {
    /// Starts a server in float32 and waits until it is online.
    ///
    /// # Errors
    /// If it cannot; its log is on stderr.
    pub(crate) fn start(holding: &Holding<'_>, initial_peer: &str) -> Result<Self> {
        let python = repository().join(".cache/python-peers/bin/python");
        if !python.exists() {
            bail!("Petals is not installed here: run scripts/python-peers first");
        }
        // Paths of Unix sockets are short.
        let scratch = TempDir::new()?;
        let mut child = Command::new(python)
            .arg(repository().join("scripts/peers/peer.py"))
            .arg("server")
            .arg(scratch.path())
            .env("HIVEMIND_LOGLEVEL", "ERROR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("Petals server")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let mut server = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            requests: 0,
            _scratch: scratch,
        };
        let ready = server.next_message()?;
        if ready.get("ready").is_none() {
            bail!("the Petals server said {ready} where it should be ready");
        }
        let blocks = format!("{}:{}", holding.blocks.start, holding.blocks.end);
        server.call(json!({
            "do": "start",
            "model": holding.model,
            "prefix": holding.prefix,
            "blocks": blocks,
            "initial_peers": [initial_peer],
        }))?;
        server.call(json!({"do": "contact"}))?;
        Ok(server)
    }

    /// Sends one request and waits for its answer.
    fn call(&mut self, mut request: Value) -> Result<Value> {
        self.requests += 1;
        request["id"] = json!(self.requests);
        let stdin = self.stdin.as_mut().context("it takes requests")?;
        writeln!(stdin, "{request}")?;
        let mut answer = self.next_message()?;
        match answer.get_mut("ok") {
            Some(result) => Ok(result.take()),
            None => bail!("the Petals server answered {answer}"),
        }
    }

    fn next_message(&mut self) -> Result<Value> {
        let line = next_line(&mut self.child, &mut self.stdout, "the Petals server")?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for PetalsServer {
    fn drop(&mut self) {
        // The end of its input ends it, with its daemon and the processes of its handlers.
        drop(self.stdin.take());
        self.child.wait().ok();
    }
}
