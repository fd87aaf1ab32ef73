//! The checksum that the hub names a file's contents by.
//!
//! | etag           | of                                                                    |
//! |----------------|-----------------------------------------------------------------------|
//! | 64 hex digits  | large files: SHA-256 of the contents                                  |
//! | 40 hex digits  | others: SHA-1 of `blob LENGTH`, a zero byte and the contents, as git  |
//! | anything else  | nothing that can be checked, as some mirrors send                     |

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Whether the contents of a file fit its etag; `None` if the etag is no checksum.
///
/// # Errors
/// As the operating system says.
pub(super) fn fits(path: &Path, etag: &str) -> io::Result<Option<bool>> {
    let is_hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = match etag.len() {
        64 if is_hex => digest(path, Sha256::new())?,
        40 if is_hex => {
            let length = path.metadata()?.len();
            digest(path, Sha1::new().chain_update(format!("blob {length}\0")))?
        }
        _ => return Ok(None),
    };
    Ok(Some(found.eq_ignore_ascii_case(etag)))
}

fn digest(path: &Path, mut digest: impl Digest) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => digest.update(&buffer[..length]),
        }
    }
    let bytes = digest.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Long enough that reading costs little beside hashing.
const BUFFER_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn both_kinds_of_checksum_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        // The checksums are those of sha256sum and of git hash-object.
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(fits(&path, sha256).unwrap(), Some(true));
        assert_eq!(fits(&path, git).unwrap(), Some(true));
        for unknown in ["", "hello", &git[1..], "zz"] {
            assert_eq!(fits(&path, unknown).unwrap(), None);
        }
        std::fs::write(&path, "hullo").unwrap();
        assert_eq!(fits(&path, sha256).unwrap(), Some(false));
        assert_eq!(fits(&path, git).unwrap(), Some(false));
    }
}
