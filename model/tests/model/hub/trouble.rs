//! A hub that refuses, stumbles, cuts, stalls or ignores what it is asked.

use std::thread;
use std::time::{Duration, Instant};

use block_model::{HubError, HubOptions, LoadError, ModelSource};
use block_testing::mock_hub::{Action, Contents, Fault, Host, MockHub};

use super::{TINY, assert_is_tiny, load_span, options, parts, snapshot, tiny_hub};
use crate::support::tiny_path;

fn refuse(status: &'static str, retry_after: Option<u64>) -> Action {
    Action::Refuse {
        status,
        code: "",
        retry_after,
    }
}

/// For a hub that is given up in the end: a machine whose cores all compile answers sooner.
const SHORT: Duration = Duration::from_secs(2);

/// For a hub that is silent for half of it.
const MEDIUM: Duration = Duration::from_secs(5);

/// For a hub that comes back.
const LONG: Duration = Duration::from_secs(60);

/// Loads two blocks from a hub with these faults.
fn load_with(
    patience: Duration,
    faults: &[Fault],
) -> Result<(MockHub, tempfile::TempDir), LoadError> {
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    for fault in faults {
        hub.fault(fault.clone());
    }
    let source = ModelSource::hub(HubOptions {
        patience,
        ..options(&hub, cache.path())
    })?;
    assert_is_tiny(&mut load_span(&source)?);
    Ok((hub, cache))
}

/// What is said in the end of a hub with a fault, for each of these.
fn give_up(faults: &[Fault]) -> Vec<LoadError> {
    thread::scope(|scope| {
        let load = |fault| scope.spawn(move || load_with(SHORT, std::slice::from_ref(fault)));
        let loads: Vec<_> = faults.iter().map(load).collect();
        let ends = loads.into_iter().map(|load| load.join().unwrap());
        ends.map(Result::unwrap_err).collect()
    })
}

/// Both hosts, and both ways to ask them.
fn everywhere(action: &Action) -> Vec<Fault> {
    let pairs = [Host::Hub, Host::Contents]
        .into_iter()
        .flat_map(|host| ["HEAD", "GET"].map(|method| (host, method)));
    pairs
        .map(|(host, method)| Fault::new(host, method, "", action.clone()))
        .collect()
}

#[test]
fn a_hub_that_stumbles_is_asked_again() {
    for status in [
        "500 Internal Server Error",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ] {
        let faults = everywhere(&refuse(status, None));
        let once: Vec<_> = faults.into_iter().map(|fault| fault.times(1)).collect();
        load_with(LONG, &once).unwrap();
    }
    let cuts =
        ["", "model-0"].map(|file| Fault::new(Host::Hub, "GET", file, Action::Cut(10)).times(1));
    load_with(LONG, &cuts).unwrap();
}

#[test]
fn a_hub_that_goes_on_stumbling_is_given_up() {
    for error in give_up(&everywhere(&refuse("503 Service Unavailable", None))) {
        let is_told = matches!(error, LoadError::Hub(HubError::Unreachable { .. }));
        assert!(
            is_told && error.to_string().contains("answers 503"),
            "{error:?}"
        );
    }
}

#[test]
fn a_hub_that_counts_requests_is_waited_for() {
    let started = Instant::now();
    let fault = Fault::new(
        Host::Hub,
        "HEAD",
        "model-0",
        refuse("429 Too Many Requests", Some(1)),
    );
    load_with(LONG, &[fault.times(1)]).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    let fault = Fault::new(
        Host::Hub,
        "HEAD",
        "",
        refuse("429 Too Many Requests", Some(4000)),
    );
    let error = give_up(&[fault]).remove(0);
    let is_told = matches!(error, LoadError::Hub(HubError::RateLimited { .. }));
    assert!(
        is_told && error.to_string().contains("wait 4000 s"),
        "{error}"
    );
    let fault = Fault::new(
        Host::Contents,
        "GET",
        "",
        refuse("429 Too Many Requests", None),
    );
    let error = give_up(&[fault]).remove(0);
    let is_told = matches!(error, LoadError::Hub(HubError::RateLimited { .. }));
    assert!(is_told && error.to_string().contains("token"), "{error}");
}

#[test]
fn who_may_not_read_is_told_where_to_ask() {
    let fault = Fault::new(Host::Hub, "HEAD", "model-0", refuse("403 Forbidden", None));
    let error = give_up(&[fault]).remove(0);
    let is_told = matches!(error, LoadError::Hub(HubError::AccessDenied { .. }));
    assert!(is_told, "{error:?}");
    assert!(
        error.to_string().contains("/own/model, and pass a token"),
        "{error}"
    );
    // A link to the contents that has expired is another matter, and shows no secret.
    let stale = Fault::new(Host::Contents, "GET", "", refuse("403 Forbidden", None));
    load_with(LONG, &[stale.clone().times(1)]).unwrap();
    let error = give_up(&[stale]).remove(0);
    let is_told = matches!(error, LoadError::Hub(HubError::Unreachable { .. }));
    assert!(is_told && !error.to_string().contains("secret"), "{error}");
}

#[test]
fn a_hub_that_falls_silent_is_asked_again_and_then_given_up() {
    let stalls = [
        Fault::new(Host::Contents, "GET", "", Action::Stall(1000)),
        Fault::new(Host::Hub, "GET", "config.json", Action::Stall(10)),
    ];
    let once: Vec<_> = stalls.iter().map(|stall| stall.clone().times(1)).collect();
    load_with(MEDIUM, &once).unwrap();
    for error in give_up(&stalls) {
        let is_told = matches!(error, LoadError::Hub(HubError::Unreachable { .. }));
        assert!(
            is_told && error.to_string().contains("no bytes for"),
            "{error:?}"
        );
    }
}

#[test]
fn a_hub_without_ranges_sends_whole_files() {
    let whole = Fault::new(Host::Contents, "GET", "", Action::SendWhole);
    let (hub, cache) = load_with(LONG, &[whole]).unwrap();
    assert!(snapshot(cache.path(), TINY[2]).is_symlink());
    assert!(!parts(cache.path(), &hub, TINY[2]).exists());
    // Once more than the file: where it was found out.
    assert!(hub.sent_bytes(TINY[2]) <= 2 * hub.contents(TINY[2]).size());
}

#[test]
fn a_hub_that_gives_the_length_of_the_whole_sends_ranges_all_the_same() {
    let whole = Fault::new(Host::Contents, "GET", "", Action::ClaimWhole);
    let (hub, cache) = load_with(LONG, &[whole]).unwrap();
    assert!(parts(cache.path(), &hub, TINY[2]).exists());
    assert!(hub.sent_bytes(TINY[2]) < hub.contents(TINY[2]).size());
}

#[test]
fn pickles_are_refused_with_a_way_out() {
    let config = std::fs::read(tiny_path().join("config.json")).unwrap();
    for pickle in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
        let hub = MockHub::start([
            ("config.json".to_owned(), Contents::small(config.clone())),
            (pickle.to_owned(), Contents::large("a pickle")),
        ]);
        let cache = tempfile::tempdir().unwrap();
        let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
        let on_the_hub = load_span(&source).unwrap_err();
        assert_eq!(hub.sent_bytes("pytorch"), 0);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), &config).unwrap();
        std::fs::write(folder.path().join(pickle), "a pickle").unwrap();
        let source = ModelSource::directory(folder.path()).unwrap();
        for error in [on_the_hub, load_span(&source).unwrap_err()] {
            let is_told = matches!(error, LoadError::PickleOnly { .. });
            assert!(is_told && error.to_string().contains(pickle), "{error}");
            assert!(error.to_string().contains("safetensors"), "{error}");
        }
    }
}
