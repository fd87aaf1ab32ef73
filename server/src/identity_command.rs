//! `block-server identity`: who a server is, before it runs.

use std::path::Path;

use block_program::{Exit, Failure, Folders, identity_lock};
use serde_json::json;

use crate::cli::{IdentityFlags, IdentityTask};

/// Shows the key, or makes one first, and returns the text for stdout.
///
/// # Errors
/// There is no key to show (exit 66), or already one where one was to be made (2); it is no key (65), or cannot be read
/// or written (77).
pub fn identity(flags: &IdentityFlags, folders: &Folders) -> Result<String, Failure> {
    let (file, makes) = match &flags.task {
        IdentityTask::Show(file) => (file, false),
        IdentityTask::New(file) => (file, true),
    };
    let path = file.identity.clone();
    let path = path.unwrap_or_else(|| folders.default_identity_file());
    match (makes, path.exists()) {
        (false, false) => {
            let what = format!("there is no key in {}", path.display());
            return Err(Failure::new(Exit::NoInput, what)
                .hint("block-server identity new makes one; so does the first start"));
        }
        (true, true) => {
            let what = format!("there is a key in {}", path.display());
            return Err(Failure::usage(what).hint("--identity FILE makes another one"));
        }
        (true, false) => make_folder(&path)?,
        (false, true) => {}
    }
    let keypair = identity_lock::load_or_create(&path)?;
    let peer_id = keypair.public().to_peer_id().to_string();
    Ok(if file.json {
        json!({"peer_id": peer_id, "file": path}).to_string()
    } else {
        format!("peer id   {peer_id}\nkey file  {}", path.display())
    })
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|error| {
        let what = format!("cannot make the folder {}", folder.display());
        Failure::new(Exit::NoPermission, what)
            .caused_by(&error)
            .hint("--identity FILE in a folder that this user may write")
    })
}
