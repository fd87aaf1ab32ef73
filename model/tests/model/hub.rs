//! Loading from a repository of a hub, played by a server on this machine.
//!
//! | file         | shows                                                                    |
//! |--------------|--------------------------------------------------------------------------|
//! | `large.rs`   | of 200 MB only what is needed is fetched, and goes on where it was cut    |
//! | `sharing.rs` | two processes at once; a process that is killed; peak memory             |
//! | `cache.rs`   | what lies in the cache, whose it is, and what happens if it is wrong     |
//! | `trouble.rs` | a hub that refuses, stumbles, cuts, stalls or ignores what it is asked   |

mod cache;
mod large;
mod sharing;
mod trouble;

use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use block_model::{BlockSpan, HubError, HubOptions, LoadError, ModelSource, SpanDType};
use block_testing::mock_hub::{Contents, FIRST_COMMIT, Host, MockHub, REPOSITORY};

use crate::engine::{self, Span};
use crate::support::{States, forward, load, tiny_path};

/// tiny-llama: blocks 0, 1 and a part of 2 in the first of two shards.
const TINY: [&str; 4] = [
    "config.json",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];

/// A hub with some files of tiny-llama.
fn tiny_hub(files: &[&str]) -> MockHub {
    MockHub::start(files.iter().map(|file| {
        let bytes = std::fs::read(tiny_path().join(file)).unwrap();
        let contents = if file.ends_with(".json") {
            Contents::small(bytes)
        } else {
            Contents::large(bytes)
        };
        ((*file).to_owned(), contents)
    }))
}

fn options(hub: &MockHub, cache_dir: &Path) -> HubOptions {
    let mut options = HubOptions::new(REPOSITORY);
    options.endpoint = Some(hub.endpoint.clone());
    options.cache_dir = Some(cache_dir.to_owned());
    options.token = Some("hf_right".to_owned());
    options.progress_bar = false;
    options
}

fn offline(hub: &MockHub, cache_dir: &Path) -> HubOptions {
    HubOptions {
        offline: true,
        ..options(hub, cache_dir)
    }
}

/// The folder of the repository in a cache.
fn folder(cache_dir: &Path) -> PathBuf {
    cache_dir.join("models--own--model")
}

/// Where hub clients look for a file of the first commit.
fn snapshot(cache_dir: &Path, file: &str) -> PathBuf {
    folder(cache_dir)
        .join("snapshots")
        .join(FIRST_COMMIT)
        .join(file)
}

/// Where a file lies of which there are parts.
fn parts(cache_dir: &Path, hub: &MockHub, file: &str) -> PathBuf {
    let blobs = folder(cache_dir).join("block-server").join("blobs");
    blobs.join(hub.contents(file).etag())
}

/// Bytes of the blocks that are not in the cache.
fn missing_bytes(source: &ModelSource, blocks: Range<usize>) -> u64 {
    source.span_files(blocks).unwrap().download_bytes
}

fn load_span(source: &ModelSource) -> Result<Span, LoadError> {
    engine::load_span(source, 0..2, SpanDType::F32)
}

fn assert_is_tiny(span: &mut Span) {
    let input = States::noise([1, 3, 64], 0);
    let blocks = span.description().blocks.clone();
    let mut expected = load(&tiny_path(), blocks.clone(), SpanDType::F32);
    assert_eq!(
        forward(span, blocks.clone(), &input),
        forward(&mut expected, blocks, &input)
    );
}

#[test]
fn only_what_the_span_needs_is_fetched_and_only_once() {
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    assert_eq!(source.name(), REPOSITORY);
    assert_eq!(source.commit(), Some(FIRST_COMMIT));
    assert_is_tiny(&mut load_span(&source).unwrap());
    assert_eq!(hub.sent_bytes(TINY[3]), 0);
    assert!(hub.sent_bytes(TINY[2]) < hub.contents(TINY[2]).size());
    assert!(parts(cache.path(), &hub, TINY[2]).exists());
    assert!(snapshot(cache.path(), TINY[1]).exists());
    assert!(!snapshot(cache.path(), TINY[2]).exists());
    let is_careful = |host| {
        let requests = hub.requests();
        let mut asked = requests.iter().filter(|request| request.host == host);
        asked.all(|request| request.has_token == (host == Host::Hub))
    };
    assert!(is_careful(Host::Hub) && is_careful(Host::Contents));

    // Offline: the same without a request.
    let requests = hub.requests().len();
    let mut options = offline(&hub, cache.path());
    let source = ModelSource::hub(options.clone()).unwrap();
    assert_eq!(source.commit(), Some(FIRST_COMMIT));
    assert_eq!(missing_bytes(&source, 0..2), 0);
    assert_is_tiny(&mut load_span(&source).unwrap());
    let missing = engine::load_span(&source, 2..4, SpanDType::F32).unwrap_err();
    assert!(missing.to_string().contains(TINY[3]), "{missing}");
    let missing_here = engine::load_span(&source, 1..3, SpanDType::F32).unwrap_err();
    for error in [missing, missing_here] {
        let is_told = matches!(error, LoadError::Hub(HubError::NotCached { .. }));
        assert!(is_told, "{error}");
    }
    options.revision = FIRST_COMMIT.to_owned();
    assert_is_tiny(&mut load_span(&ModelSource::hub(options).unwrap()).unwrap());
    assert_eq!(hub.requests().len(), requests);
}

#[test]
fn a_source_may_be_used_inside_a_runtime() {
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
        assert_is_tiny(&mut load_span(&source).unwrap());
    });
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let hub = tiny_hub(&TINY[..2]);
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    let error = load_span(&source).unwrap_err();
    let is_told = matches!(error, LoadError::Hub(HubError::NotFound { .. }));
    assert!(is_told && error.to_string().contains(TINY[2]), "{error}");

    for (repository, revision) in [("own/other", "main"), (REPOSITORY, "other")] {
        let mut options = options(&hub, cache.path());
        options.repository = repository.to_owned();
        options.revision = revision.to_owned();
        let error = ModelSource::hub(options).unwrap_err();
        let is_told = matches!(error, LoadError::Hub(HubError::NotFound { .. }));
        assert!(is_told, "{error:?}");
        let message = error.to_string();
        assert!(
            message.contains(repository) && message.contains(revision),
            "{message}"
        );
    }
}

#[test]
fn a_gated_repository_asks_for_a_token() {
    let hub = tiny_hub(&TINY);
    hub.require_token("hf_right");
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    assert_is_tiny(&mut load_span(&source).unwrap());

    let mut options = options(&hub, &cache.path().join("empty"));
    options.token = Some("hf_wrong".to_owned());
    let error = ModelSource::hub(options).unwrap_err();
    let denied = matches!(error, LoadError::Hub(HubError::AccessDenied { .. }));
    assert!(denied, "{error:?}");
    let message = error.to_string();
    assert!(
        message.contains("token") && !message.contains("hf_wrong"),
        "{message}"
    );
    assert!(message.contains("ask for access at"), "{message}");
}

#[test]
fn offline_without_a_cache_names_the_file_and_the_cache() {
    let cache = tempfile::tempdir().unwrap();
    let mut options = HubOptions::new(REPOSITORY);
    options.cache_dir = Some(cache.path().to_owned());
    options.offline = true;
    let message = ModelSource::hub(options).unwrap_err().to_string();
    assert!(message.contains("config.json"), "{message}");
    assert!(
        message.contains(&cache.path().display().to_string()),
        "{message}"
    );
}

#[test]
fn a_hub_that_is_not_there_is_done_without_if_it_can_be() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    let gone = |cache_dir: &Path| HubOptions {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        patience: Duration::from_secs(2),
        ..options(&hub, cache_dir)
    };
    let error = ModelSource::hub(gone(cache.path())).unwrap_err();
    let is_told = matches!(error, LoadError::Hub(HubError::Unreachable { .. }));
    let names_it = error.to_string().contains(&format!("127.0.0.1:{port}"));
    assert!(is_told && names_it, "{error:?}");

    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    assert_is_tiny(&mut load_span(&source).unwrap());
    let source = ModelSource::hub(gone(cache.path())).unwrap();
    assert_eq!(source.commit(), Some(FIRST_COMMIT));
    assert_is_tiny(&mut load_span(&source).unwrap());
}
