//! Servers as processes of their own: ours and those that we are compared with. Dropping one ends it.

mod block_server;
mod gateway;
pub(crate) mod llama_cpp;
mod own_program;
mod peers;
mod petals_server;
mod torch_blocks;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command};

use anyhow::{Context, Result, bail};

pub(crate) use block_server::{BlockServer, Holding};
pub(crate) use gateway::Gateway;
pub(crate) use petals_server::PetalsServer;
pub(crate) use torch_blocks::TorchBlocks;

/// The repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where this program lies, and the programs built with it: `target/release`.
pub(crate) fn build_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("a program lies in a folder")?;
    Ok(folder.to_owned())
}

/// The path of `block-server` or `swarm`, built in this program's own profile.
///
/// # Errors
/// If cargo cannot build it.
pub(crate) fn program(package: &str) -> Result<PathBuf> {
    let folder = build_folder()?;
    // Set by `cargo run`; who starts the program otherwise has built the others.
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.current_dir(repository());
        build.args(["build", "--locked", "--quiet", "--package", package]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        if !build.status()?.success() {
            bail!("cannot build {package}");
        }
    }
    let path = folder.join(package);
    if !path.exists() {
        bail!(
            "{} is missing: cargo build --release -p {package}",
            path.display()
        );
    }
    Ok(path)
}

/// Reads the next line that a child prints.
fn next_line(child: &mut Child, lines: &mut BufReader<ChildStdout>, what: &str) -> Result<String> {
    let mut line = String::new();
    if lines.read_line(&mut line)? == 0 {
        bail!("{what} ended: {}", child.wait()?);
    }
    Ok(line.trim_end().to_owned())
}
