//! A file of addresses to join through: one on a line, `#` begins a comment. Programs that run on read it again on
//! SIGHUP.

use std::io;
use std::path::{Path, PathBuf};

use block_network::{Dht, DhtError, Multiaddr};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::error_report::{Exit, Failure};
use crate::{flag_file, multiaddrs};

/// A file of addresses and the addresses that a command line gives beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeersFile {
    file: PathBuf,
    given: Vec<String>,
}

impl PeersFile {
    /// `given`: from the command line.
    pub fn new(file: PathBuf, given: Vec<String>) -> Self {
        Self { file, given }
    }

    /// All addresses now.
    ///
    /// # Errors
    /// The file is missing (exit 66), unreadable (77), too long, without any address, or has something else (2).
    pub fn read(&self) -> Result<Vec<Multiaddr>, Failure> {
        multiaddrs::initial_peers(&with_file(&self.given, Some(&self.file))?)
    }

    /// From now on SIGHUP ends this program no more, which it would until the file is read again on it: whoever mends the
    /// file of a program that cannot join yet would kill it by saying so.
    ///
    /// # Errors
    /// The system gives no signals (exit 71).
    pub fn survive_hangups() -> Result<(), Failure> {
        // The first one that listens to a signal replaces its default for good.
        let first = signal(SignalKind::hangup());
        first.map(drop).map_err(|error| no_hangups(&error))
    }

    /// At every SIGHUP reads the file again and joins `dht` through what it says now; a broken file changes nothing and
    /// is logged. Ends when the DHT has stopped; dropping it leaves the peers as they are.
    ///
    /// # Errors
    /// The system gives no signals.
    pub async fn reload_on_hangup(&self, dht: &Dht) -> io::Result<()> {
        let mut hangups = signal(SignalKind::hangup())?;
        while hangups.recv().await.is_some() {
            match self.read() {
                Ok(addresses) => {
                    let count = addresses.len();
                    if let Err(DhtError::Stopped) = dht.set_initial_peers(addresses).await {
                        break;
                    }
                    info!(file = %self.file.display(), addresses = count, "initial peers read again");
                }
                Err(failure) => error!(
                    failure = failure.in_one_line(),
                    "initial peers stay as they were"
                ),
            }
        }
        Ok(())
    }
}

/// The system gives no signals.
pub fn no_hangups(error: &io::Error) -> Failure {
    Failure::new(Exit::OsError, "SIGHUP cannot be awaited").caused_by(error)
}

/// The addresses that were `given` on the command line, and those of `file`.
///
/// # Errors
/// The file is missing (exit 66), unreadable (77), too long or without any address (2).
pub fn with_file(given: &[String], file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let mut addresses = given.to_vec();
    let Some(file) = file else {
        return Ok(addresses);
    };
    let text = flag_file::read("--initial-peers-file", file, MAX_FILE_BYTES)?;
    let lines = text.lines().map(|line| {
        let (address, _comment) = line.split_once('#').unwrap_or((line, ""));
        address.trim()
    });
    let before = addresses.len();
    addresses.extend(lines.filter(|line| !line.is_empty()).map(ToOwned::to_owned));
    if addresses.len() == before || text.len() as u64 == MAX_FILE_BYTES {
        let what = format!("--initial-peers-file {} has no use", file.display());
        return Err(Failure::usage(what)
            .cause(format!(
                "it has no address, or {MAX_FILE_BYTES} bytes or more"
            ))
            .hint("one address on a line, as READY of a server shows it"));
    }
    Ok(addresses)
}

/// Largest file read: room for hundreds of addresses.
const MAX_FILE_BYTES: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_on_lines_and_comments_do_not_count() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("peers");
        std::fs::write(
            &file,
            "# ours\n/ip4/1.2.3.4/tcp/1/p2p/a # the first\n\n  /dns/b/tcp/2/p2p/b\n",
        )
        .unwrap();
        let addresses = with_file(&["given".to_owned()], Some(&file)).unwrap();
        assert_eq!(
            addresses,
            ["given", "/ip4/1.2.3.4/tcp/1/p2p/a", "/dns/b/tcp/2/p2p/b"]
        );
        assert!(with_file(&[], None).unwrap().is_empty());
    }

    #[test]
    fn files_that_name_nobody_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("peers");
        assert_eq!(
            with_file(&[], Some(&file)).unwrap_err().exit(),
            Exit::NoInput
        );
        for text in ["# nobody\n".to_owned(), "a\n".repeat(1 << 16)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(with_file(&[], Some(&file)).unwrap_err().exit(), Exit::Usage);
        }
    }
}
