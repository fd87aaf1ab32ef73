//! One `swarm gateway` process on loopback, in a home folder of its own.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

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

    /// Streams `tokens` tokens after `prompt`, the likeliest ones, and looks at each line that comes.
    ///
    /// # Errors
    /// Anything but a whole answer of so many.
    pub(crate) fn stream(
        &self,
        prompt: &[u32],
        tokens: usize,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let body = serde_json::json!({
            "model": NAME, "prompt": prompt, "max_tokens": tokens, "temperature": 0,
            "ignore_eos": true, "stream": true, "stream_options": { "include_usage": true },
        });
        read(self.address.clone(), body.to_string(), tokens)
    }
}

async fn read(address: String, body: String, tokens: usize) -> Result<()> {
    let mut stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "POST /v1/completions HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    // The head ends with an empty line.
    while lines.read_line(&mut line).await? > 0 && line != "\r\n" {
        line.clear();
    }
    let (mut usage, mut last) = (Value::Null, String::new());
    loop {
        line.clear();
        if lines.read_line(&mut line).await? == 0 {
            break;
        }
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        let event = line.strip_prefix("data: ");
        let event = event.with_context(|| format!("no event: {line}"))?;
        if event.contains(r#""completion_tokens""#) {
            usage = serde_json::from_str::<Value>(event)?["usage"].take();
        }
        last.clear();
        last.push_str(event);
    }
    ensure!(last == "[DONE]", "the stream ended with {last}");
    ensure!(usage["completion_tokens"] == tokens, "{usage}");
    Ok(())
}

/// What requests call the model.
const NAME: &str = "bench";
