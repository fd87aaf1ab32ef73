//! One `swarm gateway` process on loopback, in a home folder of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::{next_line, program};

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    /// `127.0.0.1:PORT`.
    address: String,
    _home: TempDir,
}

impl Gateway {
    /// Starts a gateway to `model` and waits until it listens. It keeps no session for a next turn.
    ///
    /// # Errors
    /// If it ends instead; its log is on stderr.
    pub(crate) fn start(model: &Path, prefix: &str, initial_peer: &str) -> Result<Self> {
        let home = TempDir::new()?;
        let mut command = Command::new(program("swarm")?);
        command
            .args(["gateway", "--listen", "127.0.0.1:0", "--page", "off"])
            .arg("--model")
            .arg(model)
            .args(["--served-model-name", NAME, "--dht-prefix", prefix])
            .args(["--initial-peers", initial_peer, "--keep-sessions", "0"])
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path().join("config"))
            .env("XDG_STATE_HOME", home.path().join("state"))
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("swarm gateway")?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let mut gateway = Self {
            child,
            address: String::new(),
            _home: home,
        };
        let mut lines = BufReader::new(stdout);
        let line = next_line(&mut gateway.child, &mut lines, "swarm gateway")?;
        let address = line.strip_prefix("READY http://");
        gateway.address = address.with_context(|| line.clone())?.to_owned();
        Ok(gateway)
    }

    /// Streams `tokens` tokens after `prompt`, the likeliest ones.
    ///
    /// # Errors
    /// Anything but a whole answer of so many.
    pub(crate) fn stream(&self, prompt: &[u32], tokens: usize) -> Result<()> {
        let body = serde_json::json!({
            "model": NAME, "prompt": prompt, "max_tokens": tokens, "temperature": 0,
            "ignore_eos": true, "stream": true, "stream_options": { "include_usage": true },
        });
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        write!(
            stream,
            "POST /v1/completions HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut usage = Value::Null;
        let mut last = String::new();
        for line in BufReader::new(stream).lines() {
            let line = line?;
            if line.contains(r#""completion_tokens""#)
                && let Some(event) = line.strip_prefix("data: ")
            {
                usage = serde_json::from_str::<Value>(event)?["usage"].take();
            }
            if !line.is_empty() {
                last = line;
            }
        }
        ensure!(last == "data: [DONE]", "the stream ended with {last}");
        ensure!(usage["completion_tokens"] == tokens, "{usage}");
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What requests call the model.
const NAME: &str = "bench";
