//! What lies in the cache, whose it is, and what happens if it is wrong.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use block_model::{ClientHead, HubError, HubOptions, LoadError, ModelSource, SpanDType};
use block_testing::mock_hub::{Action, Contents, FIRST_COMMIT, Fault, Host, MockHub};

use super::{
    TINY, assert_is_tiny, folder, load_span, missing_bytes, offline, options, parts, snapshot,
    tiny_hub,
};
use crate::engine;
use crate::support::tiny_path;

const SECOND_COMMIT: &str = "fedcba9876543210fedcba9876543210fedcba98";

fn load_all(source: &ModelSource) -> Result<(), LoadError> {
    ClientHead::load(source)?;
    assert_is_tiny(&mut engine::load_span(source, 0..4, SpanDType::F32)?);
    Ok(())
}

/// Puts a file into the cache as the Python client does.
fn put_whole(hub: &MockHub, cache_dir: &Path, file: &str) {
    let blobs = folder(cache_dir).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let etag = hub.contents(file).etag().to_owned();
    fs::copy(tiny_path().join(file), blobs.join(&etag)).unwrap();
    let target = Path::new("../../blobs").join(etag);
    std::os::unix::fs::symlink(target, snapshot(cache_dir, file)).unwrap();
}

#[test]
fn a_whole_file_of_another_client_is_used_as_it_is() {
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    put_whole(&hub, cache.path(), TINY[2]);
    assert_eq!(missing_bytes(&source, 0..2), 0);
    assert_is_tiny(&mut load_span(&source).unwrap());
    assert_eq!(hub.sent_bytes("model-0"), 0);
    assert!(!parts(cache.path(), &hub, TINY[2]).exists());

    // Parts make room for it.
    let mut span = engine::load_span(&source, 3..4, SpanDType::F32).unwrap();
    let of_second = parts(cache.path(), &hub, TINY[3]);
    assert!(of_second.exists());
    put_whole(&hub, cache.path(), TINY[3]);
    assert_is_tiny(&mut span);
    assert_is_tiny(&mut engine::load_span(&source, 3..4, SpanDType::F32).unwrap());
    assert!(!of_second.exists());
}

#[test]
fn a_file_that_has_become_whole_is_everybodys() {
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    load_all(&source).unwrap();
    for file in &TINY[2..] {
        let path = snapshot(cache.path(), file);
        let target = Path::new("../../blobs").join(hub.contents(file).etag());
        assert_eq!(path.read_link().unwrap(), target);
        let original = tiny_path().join(file);
        assert_eq!(fs::read(path).unwrap(), fs::read(original).unwrap());
        assert!(!parts(cache.path(), &hub, file).exists());
        // The start of a file is compared before a fetch goes on.
        let start = 64 * 1024;
        assert!(hub.sent_bytes(file) <= hub.contents(file).size() + start);
    }
    let requests = hub.requests().len();
    load_all(&ModelSource::hub(offline(&hub, cache.path())).unwrap()).unwrap();
    assert_eq!(hub.requests().len(), requests);
}

#[test]
fn a_commit_that_leaves_the_weights_alone_costs_nothing() {
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    assert_is_tiny(&mut load_span(&source).unwrap());
    engine::load_span(&source, 2..3, SpanDType::F32).unwrap();
    put_whole(&hub, cache.path(), TINY[3]);
    let sent = hub.sent_bytes("model-0");
    let mut files: HashMap<_, _> = TINY
        .iter()
        .map(|file| ((*file).to_owned(), hub.contents(file)))
        .collect();
    let config = fs::read_to_string(tiny_path().join("config.json")).unwrap();
    let config = Contents::small(config + "\n");
    files.insert("config.json".to_owned(), Arc::new(config));
    hub.push(SECOND_COMMIT, files);

    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    assert_eq!(source.commit(), Some(SECOND_COMMIT));
    assert_is_tiny(&mut engine::load_span(&source, 0..4, SpanDType::F32).unwrap());
    assert_eq!(hub.sent_bytes("model-0"), sent);
    let mut pinned = options(&hub, cache.path());
    pinned.revision = FIRST_COMMIT.to_owned();
    let source = ModelSource::hub(pinned).unwrap();
    assert_eq!(source.commit(), Some(FIRST_COMMIT));
}

#[test]
fn a_whole_file_that_does_not_fit_its_checksum_is_deleted() {
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    // The request for the header is sound.
    let flip = Fault::new(Host::Contents, "GET", TINY[3], Action::Flip);
    hub.fault(flip.after(1).times(1));
    let error = load_all(&source).unwrap_err();
    let is_told = matches!(error, LoadError::Hub(HubError::Damaged { .. }));
    assert!(is_told && error.to_string().contains(TINY[3]), "{error}");
    assert!(!parts(cache.path(), &hub, TINY[3]).exists());
    assert!(!snapshot(cache.path(), TINY[3]).exists());
    hub.mend();
    load_all(&source).unwrap();
}

#[test]
fn a_small_file_that_does_not_fit_its_checksum_is_fetched_again() {
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    for file in &TINY[..2] {
        hub.fault(Fault::new(Host::Hub, "GET", file, Action::Flip).times(1));
    }
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    assert_is_tiny(&mut load_span(&source).unwrap());
    let original = fs::read(tiny_path().join(TINY[1])).unwrap();
    assert_eq!(fs::read(snapshot(cache.path(), TINY[1])).unwrap(), original);

    hub.fault(Fault::new(Host::Hub, "GET", "config.json", Action::Flip));
    let elsewhere = cache.path().join("elsewhere");
    let error = ModelSource::hub(HubOptions {
        patience: Duration::from_secs(2),
        ..options(&hub, &elsewhere)
    });
    let error = error.unwrap_err();
    let is_told = matches!(error, LoadError::Hub(HubError::Damaged { .. }));
    assert!(is_told, "{error}");
    assert!(!snapshot(&elsewhere, "config.json").exists());
}

#[test]
fn parts_of_two_files_are_never_mixed() {
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    // The file changes under its commit: while it is fetched, and between two starts.
    let rename = Fault::new(Host::Hub, "HEAD", TINY[2], Action::Rename("another"));
    for asked_before in [2, 0] {
        hub.fault(rename.clone().after(asked_before));
        let error = load_span(&source).unwrap_err();
        hub.mend();
        let is_told = matches!(error, LoadError::Hub(HubError::Changed { .. }));
        assert!(is_told && error.to_string().contains("another"), "{error}");
        // Nothing is left of what may be mixed; what the error says helps.
        assert_eq!(
            parts(cache.path(), &hub, TINY[2]).exists(),
            asked_before == 0
        );
        let path = error.to_string();
        let path = path.rsplit_once("delete ").unwrap().1;
        fs::remove_file(path).unwrap();
        assert_is_tiny(&mut load_span(&source).unwrap());
        fs::write(parts(cache.path(), &hub, TINY[2]), "cut").unwrap();
    }
}

#[test]
fn parts_that_were_damaged_here_are_fetched_again() {
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    assert_is_tiny(&mut load_span(&source).unwrap());
    let path = parts(cache.path(), &hub, TINY[2]);
    let sound = fs::read(&path).unwrap();
    let journal = path.with_extension("ranges");
    let damages: [&dyn Fn(); 4] = [
        &|| fs::write(&path, &sound[..sound.len() - 1]).unwrap(),
        &|| fs::remove_file(&path).unwrap(),
        &|| fs::write(&journal, "nonsense").unwrap(),
        &|| fs::remove_file(&journal).unwrap(),
    ];
    for damage in damages {
        damage();
        let cached = ModelSource::hub(offline(&hub, cache.path())).unwrap();
        let error = load_span(&cached).unwrap_err();
        let is_told = matches!(error, LoadError::Hub(HubError::NotCached { .. }));
        assert!(is_told, "{error}");
        assert_is_tiny(&mut load_span(&source).unwrap());
        assert_is_tiny(&mut load_span(&cached).unwrap());
    }
    // Bytes that changed are seen when more are fetched.
    let mut wrong = sound.clone();
    wrong[3000] ^= 1;
    fs::write(&path, wrong).unwrap();
    engine::load_span(&source, 0..3, SpanDType::F32).unwrap();
    assert_is_tiny(&mut load_span(&source).unwrap());
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let hub = tiny_hub(&TINY);
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    let blobs = folder(cache.path()).join("block-server").join("blobs");
    fs::write(blobs, "no folder").unwrap();
    let error = load_span(&source).unwrap_err();
    let is_told = matches!(error, LoadError::Hub(HubError::Disk { .. }));
    assert!(
        is_told && error.to_string().contains("block-server"),
        "{error}"
    );
}

#[test]
fn a_header_that_cannot_be_is_refused() {
    let config = fs::read(tiny_path().join("config.json")).unwrap();
    let lengths = [0, 1, 1 << 20, 200_000_000, u64::MAX];
    let bytes = lengths.map(|length| [&length.to_le_bytes()[..], &[b'{'; 100]].concat());
    for bytes in bytes.into_iter().chain([vec![], vec![1; 7]]) {
        let hub = MockHub::start([
            ("config.json".to_owned(), Contents::small(config.clone())),
            ("model.safetensors".to_owned(), Contents::large(bytes)),
        ]);
        let cache = tempfile::tempdir().unwrap();
        let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
        let error = load_span(&source).unwrap_err();
        assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
    }
}
