//! Loading from a repository of a hub, played by a server on this machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use block_model::{BlockSpan, HubError, HubOptions, LoadError, ModelSource, SpanDType};

use crate::engine::{self, Span};
use crate::support::{States, forward, load, tiny_path};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const REPOSITORY: &str = "own/tiny-llama";

/// A hub with one repository. Lives as long as the process; listens on a port of its own.
struct MockHub {
    endpoint: String,
    /// `METHOD file` of every request that was answered.
    requests: Arc<Mutex<Vec<String>>>,
}

impl MockHub {
    /// Serves some files of tiny-llama. With a `token`, only to who shows it.
    fn start(files: &[&str], token: Option<&'static str>) -> Self {
        let read = |file: &&str| {
            (
                (*file).to_owned(),
                std::fs::read(tiny_path().join(file)).unwrap(),
            )
        };
        let files: HashMap<String, Vec<u8>> = files.iter().map(read).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A caller that hangs up early is its own affair.
                let _ = answer(stream, &files, token, &log);
            }
        });
        Self { endpoint, requests }
    }

    fn options(&self, cache_dir: &Path) -> HubOptions {
        let mut options = HubOptions::new(REPOSITORY);
        options.endpoint = Some(self.endpoint.clone());
        options.cache_dir = Some(cache_dir.to_owned());
        options.token = Some("hf_right".to_owned());
        options.progress_bar = false;
        options
    }

    fn downloaded(&self, file: &str) -> bool {
        self.requests
            .lock()
            .unwrap()
            .contains(&format!("GET {file}"))
    }
}

fn answer(
    mut stream: TcpStream,
    files: &HashMap<String, Vec<u8>>,
    token: Option<&str>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let lines: Result<Vec<_>, _> = BufReader::new(&stream)
        .lines()
        .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
        .collect();
    let lines = lines?;
    let mut request = lines[0].split(' ');
    let (method, path) = (request.next().unwrap(), request.next().unwrap());
    let authorized = token.is_none_or(|token| {
        let header = format!("authorization: Bearer {token}");
        lines.iter().any(|line| line.eq_ignore_ascii_case(&header))
    });
    let parts: Vec<_> = path.split('/').skip(1).collect();
    let file = match parts.as_slice() {
        ["own", "tiny-llama", "resolve", "main" | COMMIT, file] => Some(*file),
        _ => None,
    };
    let (status, error, body) = match file.map(|file| (file, files.get(file))) {
        _ if !authorized => ("401 Unauthorized", "GatedRepo", &[][..]),
        None => ("404 Not Found", "RepoNotFound", &[][..]),
        Some((_, None)) => ("404 Not Found", "EntryNotFound", &[][..]),
        Some((_, Some(body))) => ("200 OK", "", body.as_slice()),
    };
    if let Some(file) = file {
        log.lock().unwrap().push(format!("{method} {file}"));
    }
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\netag: \"{}\"\r\nx-repo-commit: {COMMIT}\r\n\
         x-error-code: {error}\r\nconnection: close\r\n\r\n",
        body.len(),
        file.unwrap_or("none"),
    )?;
    if method == "GET" {
        stream.write_all(body)?;
    }
    stream.flush()
}

const SHARDED: [&str; 4] = [
    "config.json",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];

fn load_span(source: &ModelSource) -> Result<Span, LoadError> {
    engine::load_span(source, 0..2, SpanDType::F32)
}

fn assert_is_tiny(span: &mut Span) {
    let input = States::noise([1, 3, 64], 0);
    let mut expected = load(&tiny_path(), 0..2, SpanDType::F32);
    assert_eq!(span.description().blocks, 0..2);
    assert_eq!(
        forward(span, 0..2, &input),
        forward(&mut expected, 0..2, &input)
    );
}

#[test]
fn only_the_files_of_the_span_are_fetched_and_only_once() {
    let hub = MockHub::start(&SHARDED, None);
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(hub.options(cache.path())).unwrap();
    assert_eq!(source.name(), REPOSITORY);
    assert_eq!(source.commit(), Some(COMMIT));
    assert_is_tiny(&mut load_span(&source).unwrap());
    assert!(hub.downloaded(SHARDED[2]) && !hub.downloaded(SHARDED[3]));
    let tree = cache.path().join("models--own--tiny-llama");
    assert!(
        tree.join("snapshots")
            .join(COMMIT)
            .join(SHARDED[2])
            .exists()
    );

    // Offline: the same without a request.
    let requests = hub.requests.lock().unwrap().len();
    let mut options = hub.options(cache.path());
    options.offline = true;
    let source = ModelSource::hub(options.clone()).unwrap();
    assert_eq!(source.commit(), Some(COMMIT));
    assert_is_tiny(&mut load_span(&source).unwrap());
    let missing = engine::load_span(&source, 2..4, SpanDType::F32).unwrap_err();
    assert!(missing.to_string().contains(SHARDED[3]), "{missing}");
    assert!(matches!(
        missing,
        LoadError::Hub(HubError::NotCached { .. })
    ));
    options.revision = COMMIT.to_owned();
    assert_is_tiny(&mut load_span(&ModelSource::hub(options).unwrap()).unwrap());
    assert_eq!(hub.requests.lock().unwrap().len(), requests);
}

#[test]
fn a_source_may_be_used_inside_a_runtime() {
    let hub = MockHub::start(&SHARDED, None);
    let cache = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let source = ModelSource::hub(hub.options(cache.path())).unwrap();
        assert_is_tiny(&mut load_span(&source).unwrap());
    });
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let hub = MockHub::start(&SHARDED[..2], None);
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(hub.options(cache.path())).unwrap();
    let error = load_span(&source).unwrap_err();
    assert!(
        matches!(error, LoadError::Hub(HubError::NotFound { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains(SHARDED[2]), "{error}");

    for (repository, revision) in [("own/other", "main"), (REPOSITORY, "other")] {
        let mut options = hub.options(cache.path());
        options.repository = repository.to_owned();
        options.revision = revision.to_owned();
        let error = ModelSource::hub(options).unwrap_err();
        assert!(
            matches!(error, LoadError::Hub(HubError::NotFound { .. })),
            "{error:?}"
        );
        let message = error.to_string();
        assert!(
            message.contains(repository) && message.contains(revision),
            "{message}"
        );
    }
}

#[test]
fn a_gated_repository_asks_for_a_token() {
    let hub = MockHub::start(&SHARDED, Some("hf_right"));
    let cache = tempfile::tempdir().unwrap();
    assert!(ModelSource::hub(hub.options(cache.path())).is_ok());

    let mut options = hub.options(cache.path());
    options.token = Some("hf_wrong".to_owned());
    options.cache_dir = Some(cache.path().join("empty"));
    let error = ModelSource::hub(options).unwrap_err();
    let denied = matches!(error, LoadError::Hub(HubError::AccessDenied { .. }));
    assert!(denied, "{error:?}");
    let message = error.to_string();
    assert!(
        message.contains("token") && !message.contains("hf_wrong"),
        "{message}"
    );
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
fn a_hub_that_is_not_there_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let cache = tempfile::tempdir().unwrap();
    let mut options = HubOptions::new(REPOSITORY);
    options.endpoint = Some(format!("http://127.0.0.1:{port}"));
    options.cache_dir = Some(cache.path().to_owned());
    let error = ModelSource::hub(options).unwrap_err();
    assert!(
        matches!(error, LoadError::Hub(HubError::Unreachable { .. })),
        "{error:?}"
    );
}
