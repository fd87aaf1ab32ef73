//! Where the programs are that we are compared with.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::repository;

const INSTALLED: &str = ".cache/bench-peers";

/// Environment variables that name other ones than those of `scripts/bench-peers`: a folder with llama.cpp's programs,
/// and a Python interpreter.
const LLAMA_CPP_BIN: &str = "LLAMA_CPP_BIN";
const PYTHON: &str = "BENCH_PEERS_PYTHON";

/// One of llama.cpp's programs.
///
/// # Errors
/// If it is not installed.
pub(crate) fn llama_cpp(program: &str) -> Result<PathBuf> {
    let folder = PathBuf::from(INSTALLED).join("bin");
    found("llama.cpp", LLAMA_CPP_BIN, Some(program), folder)
}

/// The interpreter with torch, transformers and gguf.
///
/// # Errors
/// If it is not installed.
pub(crate) fn python() -> Result<PathBuf> {
    let interpreter = PathBuf::from(INSTALLED).join("python/bin/python");
    found("PyTorch", PYTHON, None, interpreter)
}

/// The file that the variable or else the installation has; `program` is a file in the folder.
fn found(what: &str, variable: &str, program: Option<&str>, installed: PathBuf) -> Result<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = named.unwrap_or_else(|| repository().join(installed));
    let path = program.map_or_else(|| path.clone(), |program| path.join(program));
    if !path.exists() {
        bail!(
            "{what} is not installed: there is no {}. Run scripts/bench-peers first, or set {variable}",
            path.display()
        );
    }
    Ok(path)
}
