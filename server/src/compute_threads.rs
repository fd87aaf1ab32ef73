//! How many threads the arithmetic uses.
//!
//! Unless `RAYON_NUM_THREADS` says it, candle 0.11 asks the system for the number of physical cores at every matrix
//! product: about 50 µs each, more than half of a small model's decode step. A process cannot change its own
//! environment safely, so the program starts itself once more with the variable set, in the same process.

use std::io;
use std::process::Command;

/// The variable that candle reads.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Restarts the program with the number of physical cores in `RAYON_NUM_THREADS`, unless the operator has set it. Returns only
/// if there is nothing to do.
///
/// # Errors
/// The system's, if the program cannot be started again; going on is slower, not wrong.
pub fn settle() -> io::Result<()> {
    if std::env::var_os(VARIABLE).is_some() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let mut program = Command::new(std::env::current_exe()?);
    program.args(arguments);
    program.env(VARIABLE, num_cpus::get_physical().to_string());
    replace(program, name)
}

#[cfg(unix)]
fn replace(mut program: Command, name: Option<std::ffi::OsString>) -> io::Result<()> {
    use std::os::unix::process::CommandExt;

    if let Some(name) = name {
        program.arg0(name);
    }
    Err(program.exec())
}

/// Other systems cannot replace a process; the operator may set the variable.
#[cfg(not(unix))]
fn replace(_program: Command, _name: Option<std::ffi::OsString>) -> io::Result<()> {
    Ok(())
}
