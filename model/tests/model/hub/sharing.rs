//! One cache and several processes: this test program starts itself for a second one.

use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use block_model::{HubOptions, ModelSource};
use block_testing::PATIENCE;
use block_testing::mock_hub::{Action, Fault, Host, MockHub, REPOSITORY};

use super::large::{QUARTER, assert_is_here, bytes_of, large_hub, load_blocks, share_sent};
use super::{missing_bytes, options};

/// Tells the other process that it is the other.
const ROLE: &str = "TEST_HUB_ROLE";

/// The test `test` of this file in another process, which finds hub and cache by its environment.
fn start(test: &str, hub: &MockHub, cache: (&str, &Path)) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let started = command
        .args(["--exact", &format!("hub::sharing::{test}"), "--nocapture"])
        .env(ROLE, "other")
        .env("HF_ENDPOINT", &hub.endpoint)
        .env("HF_TOKEN", "hf_right")
        .env_remove("HF_HUB_CACHE")
        .env(cache.0, cache.1)
        .stdout(Stdio::null())
        .spawn();
    started.unwrap()
}

/// The model that the other process is to load, if this is it.
fn told() -> Option<ModelSource> {
    std::env::var_os(ROLE)?;
    let mut options = HubOptions::new(REPOSITORY);
    options.progress_bar = false;
    Some(ModelSource::hub(options).unwrap())
}

#[test]
fn the_environment_says_where_hub_and_cache_are() {
    if let Some(source) = told() {
        return load_blocks(&source, 0..1).unwrap();
    }
    let hub = large_hub();
    hub.require_token("hf_right");
    let home = tempfile::tempdir().unwrap();
    let test = "the_environment_says_where_hub_and_cache_are";
    let mut other = start(test, &hub, ("HF_HOME", home.path()));
    assert!(other.wait().unwrap().success());
    assert!(share_sent(&hub, 0..1) <= 1.02);
    assert_is_here(&hub, &home.path().join("hub"), 0..1);
}

#[test]
fn two_processes_fetch_every_byte_once() {
    if let Some(source) = told() {
        return load_blocks(&source, QUARTER).unwrap();
    }
    let hub = large_hub();
    let cache = tempfile::tempdir().unwrap();
    let mut other = start(
        "two_processes_fetch_every_byte_once",
        &hub,
        ("HF_HUB_CACHE", cache.path()),
    );
    let load = |blocks: Range<usize>| {
        let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
        load_blocks(&source, blocks).unwrap();
    };
    thread::scope(|scope| {
        scope.spawn(|| load(QUARTER));
        scope.spawn(|| load(1..3));
    });
    assert!(other.wait().unwrap().success());
    assert!(share_sent(&hub, 1..4) <= 1.02);
    assert_is_here(&hub, cache.path(), 1..4);
}

#[test]
fn a_process_that_is_killed_leaves_what_it_fetched() {
    if let Some(source) = told() {
        return load_blocks(&source, QUARTER).unwrap();
    }
    let hub = large_hub();
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    let wanted = missing_bytes(&source, QUARTER);
    let stall = Action::Stall(20_000_000);
    hub.fault(Fault::new(Host::Contents, "GET", "model-0", stall));
    let test = "a_process_that_is_killed_leaves_what_it_fetched";
    let mut other = start(test, &hub, ("HF_HUB_CACHE", cache.path()));
    // Less than a MiB of what has come is not noted yet.
    let started = Instant::now();
    while missing_bytes(&source, QUARTER) > wanted - 18_800_000 {
        assert!(started.elapsed() < PATIENCE);
        thread::yield_now();
    }
    other.kill().unwrap();
    other.wait().unwrap();
    hub.mend();
    load_blocks(&source, QUARTER).unwrap();
    assert!(share_sent(&hub, QUARTER) <= 1.05);
    assert_is_here(&hub, cache.path(), QUARTER);
}

#[test]
#[cfg(target_os = "linux")]
fn memory_peaks_at_the_span_and_one_tensor() {
    let Some(source) = told() else {
        let hub = large_hub();
        let cache = tempfile::tempdir().unwrap();
        let test = "memory_peaks_at_the_span_and_one_tensor";
        assert!(
            start(test, &hub, ("HF_HUB_CACHE", cache.path()))
                .wait()
                .unwrap()
                .success()
        );
        return;
    };
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        let kilobytes = line.split_whitespace().nth(1).unwrap();
        1024 * kilobytes.parse::<u64>().unwrap()
    };
    let before = peak();
    load_blocks(&source, QUARTER).unwrap();
    let tensor = 2 * 1024 * 2816;
    let grown = peak() - before;
    eprintln!("memory grew by {grown} bytes");
    assert!(
        grown <= bytes_of(QUARTER) + tensor + 64 * 1024 * 1024,
        "{grown}"
    );
}
