//! llama.cpp: random models in its format, its own benchmark as a child process, and its RPC servers.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{peers, repository};
use crate::models::{Stack, models_folder};

/// What a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The random model of `stack` in one of llama.cpp's formats, for example `Q8_0`; made once.
///
/// # Errors
/// If Python or llama.cpp are not installed or fail.
pub(crate) fn model(stack: Stack, format: &str) -> Result<PathBuf> {
    let folder = models_folder()?;
    // llama-quantize takes a name that begins with a digit for a number.
    let path = folder.join(format!("{}-{format}.gguf", stack.file_name()));
    if path.exists() {
        return Ok(path);
    }
    let quantize = peers::llama_cpp("llama-quantize")?;
    fs::create_dir_all(&folder)?;
    let half = folder.join(format!("{}-F16.gguf", stack.file_name()));
    if !half.exists() {
        eprintln!("writing a random model to {}", half.display());
        let unfinished = half.with_extension("part");
        let script = repository().join("scripts/peers/random_gguf.py");
        let mut write = Command::new(peers::python()?);
        write
            .arg(script)
            .arg(&unfinished)
            .arg(stack.json().to_string());
        finish(&mut write)?;
        fs::rename(unfinished, &half)?;
    }
    let unfinished = path.with_extension("part");
    let mut convert = Command::new(quantize);
    convert.arg("--pure").arg(half).arg(&unfinished).arg(format);
    finish(&mut convert)?;
    fs::rename(unfinished, &path)?;
    Ok(path)
}

/// Runs a program to its end; what it says is shown only if it fails.
fn finish(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {said}", output.status);
    }
    Ok(output.stdout)
}

/// What llama.cpp's benchmark is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// So many tokens one after the other, beginning after `context` tokens.
    Decode { context: usize, tokens: usize },
    /// A prompt of so many tokens.
    Prompt(usize),
}

/// Seconds of one token, or of one prompt, as llama-bench says; with `servers`, over them instead of in its process.
///
/// # Errors
/// If it is not installed or fails.
pub(crate) fn bench(
    model: &Path,
    task: Task,
    threads: usize,
    servers: &[RpcServer],
) -> Result<f64> {
    let (prompt, tokens, context) = match task {
        Task::Decode { context, tokens } => (0, tokens, context),
        Task::Prompt(prompt) => (prompt, 0, 0),
    };
    let mut bench = Command::new(peers::llama_cpp("llama-bench")?);
    bench.arg("--model").arg(model);
    for (flag, number) in [
        ("--threads", threads),
        ("--n-prompt", prompt),
        ("--n-gen", tokens),
        ("--n-depth", context),
        ("--repetitions", 1),
    ] {
        bench.arg(flag).arg(number.to_string());
    }
    bench.args(["--output", "json"]);
    if !servers.is_empty() {
        let addresses: Vec<&str> = servers.iter().map(|server| &*server.address).collect();
        bench.args(["--rpc", &addresses.join(","), "--n-gpu-layers", "99"]);
    }
    let answer: Value = serde_json::from_slice(&finish(&mut bench)?)?;
    let rate = answer[0]["avg_ts"].as_f64();
    let rate = rate.with_context(|| format!("no avg_ts in {answer}"))?;
    // A prompt counts its tokens, too.
    Ok(prompt.max(1) as f64 / rate)
}

/// A server that computes with one thread what llama.cpp sends it.
#[derive(Debug)]
pub(crate) struct RpcServer {
    child: Child,
    address: String,
}

impl RpcServer {
    /// Starts one on loopback and waits until it listens.
    ///
    /// # Errors
    /// If it is not installed or does not listen in time.
    pub(crate) fn start() -> Result<Self> {
        // It cannot choose a port by itself; this one was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(peers::llama_cpp("ggml-rpc-server")?)
            .args(["--host", "127.0.0.1", "--threads", "1", "--port"])
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("ggml-rpc-server")?;
        let mut server = Self {
            child,
            address: format!("127.0.0.1:{port}"),
        };
        let started = Instant::now();
        while TcpStream::connect(&server.address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("ggml-rpc-server ended: {status}");
            }
            if started.elapsed() > PATIENCE {
                bail!("ggml-rpc-server does not listen on {}", server.address);
            }
            std::thread::yield_now();
        }
        Ok(server)
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
