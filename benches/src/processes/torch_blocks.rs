//! The blocks of a shape in PyTorch (`scripts/peers/torch_blocks.py`), timed on request.

use std::io::{BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{next_line, peers, repository};
use crate::models::Stack;

/// A running interpreter; dropping it ends it.
#[derive(Debug)]
pub(crate) struct TorchBlocks {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Versions of torch and transformers.
    pub(crate) versions: String,
}

impl TorchBlocks {
    /// Starts it with random weights and waits until it is ready.
    ///
    /// # Errors
    /// If it is not installed or ends; what it says is on stderr.
    pub(crate) fn start(stack: Stack, threads: usize) -> Result<Self> {
        let mut child = Command::new(peers::python()?)
            .arg(repository().join("scripts/peers/torch_blocks.py"))
            .arg(stack.json().to_string())
            .arg(threads.to_string())
            .env("OMP_NUM_THREADS", threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("PyTorch")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let mut blocks = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            versions: String::new(),
        };
        let ready = blocks.next_message()?;
        let versions = ready["ready"].as_str();
        blocks.versions = versions.with_context(|| ready.to_string())?.to_owned();
        Ok(blocks)
    }

    /// Seconds of one step with one new token for each of `sessions` sessions of `context` tokens; the mean of `steps`.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn decode(&mut self, sessions: usize, context: usize, steps: usize) -> Result<f64> {
        self.seconds(
            &json!({"do": "decode", "batch": sessions, "context": context, "steps": steps}),
        )
    }

    /// Seconds of a prompt.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn prompt(&mut self, tokens: usize) -> Result<f64> {
        self.seconds(&json!({"do": "prompt", "tokens": tokens}))
    }

    fn seconds(&mut self, request: &Value) -> Result<f64> {
        let stdin = self.stdin.as_mut().context("it takes requests")?;
        writeln!(stdin, "{request}")?;
        let answer = self.next_message()?;
        answer["seconds"]
            .as_f64()
            .with_context(|| answer.to_string())
    }

    fn next_message(&mut self) -> Result<Value> {
        let line = next_line(&mut self.child, &mut self.stdout, "PyTorch")?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for TorchBlocks {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.stdin.take());
        self.child.wait().ok();
    }
}
