//! One `swarm gateway` process on loopback, in a home folder of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::own_program::OwnProgram;

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// `127.0.0.1:PORT`.
    address: String,
    _process: OwnProgram,
}

impl Gateway {
    /// Starts a gateway to `model` and waits until it listens. It keeps no session for a next turn.
    ///
    /// # Errors
    /// If it ends instead; its log is on stderr.
    pub(crate) fn start(model: &Path, prefix: &str, initial_peer: &str) -> Result<Self> {
        let (_process, url) = OwnProgram::start("swarm", |command| {
            command
                .args(["gateway", "--listen", "127.0.0.1:0", "--page", "off"])
                .arg("--model")
                .arg(model)
                .args(["--served-model-name", NAME, "--dht-prefix", prefix])
                .args(["--initial-peers", initial_peer, "--keep-sessions", "0"]);
        })?;
        let address = url.strip_prefix("http://").with_context(|| url.clone())?;
        Ok(Self {
            address: address.to_owned(),
            _process,
        })
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

/// What requests call the model.
const NAME: &str = "bench";
