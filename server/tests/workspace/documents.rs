//! What the documents point at exists.

use std::path::Path;

use crate::tree::{repository, text};

const DOCUMENTS: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "docs/wire.md",
    "docs/decisions/README.md",
    "docs/operations/README.md",
    "docs/operations/alerts.md",
    "benches/README.md",
];

const FOLDERS: [&str; 9] = [
    "benches", "client", "configs", "docs", "model", "models", "network", "protocol", "server",
];

#[test]
fn files_named_in_documents_exist() {
    let mut checked = 0;
    for document in DOCUMENTS {
        let text = text(Path::new(document)).unwrap();
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_./-*".contains(c);
        for word in text.split(|c| !is_part(c)) {
            let path = word.trim_end_matches('.');
            let is_ours = FOLDERS.iter().any(|folder| {
                path.strip_prefix(folder)
                    .is_some_and(|rest| rest.starts_with('/'))
            });
            if is_ours && !path.contains('*') {
                assert!(repository().join(path).exists(), "{document} names {path}");
                checked += 1;
            }
        }
    }
    assert!(checked > 0);
}
