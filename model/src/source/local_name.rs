//! The name that a model of this machine goes by.

use std::ffi::OsString;
use std::path::Path;

/// The folder's own name, also for `.`, `..` and paths that end in them; a GGUF file's name without its extension.
///
/// `None` if there is none, as for the root folder, or if it is not UTF-8.
pub fn local_name(path: &Path) -> Option<String> {
    let named = if is_gguf_file(path) {
        path.file_stem()
    } else {
        path.file_name()
    };
    let name: OsString = match named {
        Some(name) => name.to_owned(),
        None => path.canonicalize().ok()?.file_name()?.to_owned(),
    };
    name.into_string().ok()
}

/// Whether `path` names a GGUF file, by its extension in either case; it need not exist.
pub fn is_gguf_file(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case(GGUF_EXTENSION))
}

const GGUF_EXTENSION: &str = "gguf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_its_own_name_and_a_file_its_stem() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("fable-7m");
        std::fs::create_dir_all(folder.join("inner")).unwrap();
        let name = |path: &Path| local_name(path);
        assert_eq!(name(&folder).as_deref(), Some("fable-7m"));
        let around = folder.join("inner").join("..");
        assert_eq!(name(&around).as_deref(), Some("fable-7m"));
        for (file, stem) in [
            ("path/Name-1.5B-Q4_K_M.gguf", "Name-1.5B-Q4_K_M"),
            ("Name.GGUF", "Name"),
            ("Name-1.5B", "Name-1.5B"),
        ] {
            assert_eq!(name(Path::new(file)).as_deref(), Some(stem));
        }
        assert_eq!(name(Path::new("/")), None);
    }
}
