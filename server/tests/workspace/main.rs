//! Rules about the repository itself: which way its crates depend on each other, what they may depend
//! on, and what its files may hold.
//!
//! | file              | holds                                                             |
//! |-------------------|-------------------------------------------------------------------|
//! | `dependencies.rs` | directions between our crates, sources, versions, duplicates      |
//! | `licences.rs`     | every dependency's licence is on the allow list                   |
//! | `documents.rs`    | files that the documents name exist                               |
//! | `files.rs`        | file lengths, names, words, and paths of one machine              |
//! | `metadata.rs`     | what `cargo metadata` says                                        |
//! | `tree.rs`         | the files of the repository                                       |
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken rule ends the test; the lint's exemption does not reach helpers of integration tests"
)]

mod dependencies;
mod documents;
mod files;
mod licences;
mod metadata;
mod tree;
