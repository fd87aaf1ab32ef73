//! One cache for Python's hub client and ours: each reads what the other fetched.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use block_model::{ClientHead, CpuOptions, CpuSpan, HubOptions, LoadError, ModelSource, SpanDType};
use block_testing::mock_hub::{Contents, MockHub, REPOSITORY};
use block_testing::{fable, janitor, repository};
use serde_json::{Value, json};

const WEIGHTS: &str = "model.safetensors";

const SMALL_FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

fn fable_hub() -> MockHub {
    let read = |file: &str| std::fs::read(fable().join(file)).unwrap();
    let small = SMALL_FILES.map(|file| (file.to_owned(), Contents::small(read(file))));
    let weights = (WEIGHTS.to_owned(), Contents::large(read(WEIGHTS)));
    MockHub::start(small.into_iter().chain([weights]))
}

fn source(hub: &MockHub, cache: &Path, offline: bool) -> ModelSource {
    let mut options = HubOptions::new(REPOSITORY);
    options.endpoint = Some(hub.endpoint.clone());
    options.cache_dir = Some(cache.to_owned());
    options.offline = offline;
    ModelSource::hub(options).unwrap()
}

fn load_all(source: &ModelSource) -> Result<(), LoadError> {
    ClientHead::load(source)?;
    CpuSpan::load(source, 0..8, &CpuOptions::new(SpanDType::BF16)).map(|_| ())
}

/// transformers in a process of its own.
fn start_python(hub: &MockHub, cache: &Path, offline: bool) -> Child {
    let mut command = Command::new(janitor::python());
    let offline = if offline { "1" } else { "0" };
    let started = command
        .arg(repository().join("scripts/peers/hub_reader.py"))
        .args([REPOSITORY.as_ref(), fable().as_os_str()])
        .env("HF_ENDPOINT", &hub.endpoint)
        // The name that this old client knows.
        .env("HUGGINGFACE_HUB_CACHE", cache)
        .env("HF_HOME", cache)
        .env("HF_HUB_OFFLINE", offline)
        .env("TRANSFORMERS_OFFLINE", offline)
        .stdout(Stdio::piped())
        .spawn();
    started.unwrap()
}

fn assert_python_sees_everything(python: Child) {
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut files = vec![WEIGHTS];
    files.extend(SMALL_FILES);
    files.sort_unstable();
    assert_eq!(
        answer,
        json!({"same_weights": true, "same_ids": true, "warnings": [], "files": files})
    );
}

#[test]
fn each_client_reads_what_the_other_fetched() {
    let hub = fable_hub();
    let [ours, theirs] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let whole = hub.contents(WEIGHTS).size();

    // All from us: Python needs no hub.
    let first = source(&hub, ours.path(), false);
    for file in SMALL_FILES {
        first.file(file).unwrap();
    }
    load_all(&first).unwrap();
    let offline = start_python(&hub, ours.path(), true);

    // A part from us, of which Python sees nothing, and then all from Python: we need no hub.
    let second = source(&hub, theirs.path(), false);
    CpuSpan::load(&second, 0..2, &CpuOptions::new(SpanDType::BF16)).unwrap();
    let fetched = hub.sent_bytes(WEIGHTS);
    assert_python_sees_everything(start_python(&hub, theirs.path(), false));
    assert_eq!(hub.sent_bytes(WEIGHTS) - fetched, whole);
    let requests = hub.requests().len();
    load_all(&source(&hub, theirs.path(), true)).unwrap();
    load_all(&second).unwrap();
    assert_python_sees_everything(offline);
    assert_eq!(hub.requests().len(), requests);
}
