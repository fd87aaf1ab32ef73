//! Who we are: the key pair behind the peer id, kept as a serialized libp2p `PrivateKey` protobuf.
//!
//! Files written by hivemind (RSA, 2,048 bit) and by us (ed25519) are read alike.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use libp2p::identity::Keypair;

/// An identity file that cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Reading or creating the file failed.
    #[error("cannot read or create the identity file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else, or a kind of key that libp2p does not read.
    #[error("the identity file {path} does not hold a libp2p private key: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
}

/// A new ed25519 key pair that is kept nowhere.
#[must_use]
pub fn ephemeral() -> Keypair {
    Keypair::generate_ed25519()
}

/// The key pair in `path`; if there is no such file, a new ed25519 one, readable by its owner only.
///
/// # Errors
/// [`IdentityError`] names the file and the reason. An existing file is never replaced.
pub fn load_or_create(path: &Path) -> Result<Keypair, IdentityError> {
    match fs::read(path) {
        Ok(bytes) => decode(path, &bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
        Err(source) => Err(io_error(path, source)),
    }
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Keypair, IdentityError> {
    Keypair::from_protobuf_encoding(bytes).map_err(|error| IdentityError::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn create(path: &Path) -> Result<Keypair, IdentityError> {
    let keypair = ephemeral();
    let bytes = keypair
        .to_protobuf_encoding()
        .map_err(|error| io_error(path, io::Error::other(error)))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(path);
    if matches!(&opened, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
        // Another process was faster: use what it wrote.
        let bytes = fs::read(path).map_err(|source| io_error(path, source))?;
        return decode(path, &bytes);
    }
    opened
        .and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        })
        .map_err(|source| io_error(path, source))?;
    Ok(keypair)
}

fn io_error(path: &Path, source: io::Error) -> IdentityError {
    IdentityError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_identity_is_private_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        let created = load_or_create(&path).unwrap();
        let loaded = load_or_create(&path).unwrap();
        assert_eq!(created.public(), loaded.public());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }

    #[test]
    fn a_file_with_something_else_is_named_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        fs::write(&path, b"not a key").unwrap();
        let error = load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"not a key");
    }
}
