//! A hub on loopback, over real HTTP: repositories at commits, small files from the hub itself, large
//! ones by a redirect to a host of contents, byte ranges, etags, and whatever may go wrong.
//!
//! | asked of | for                           | answers                                             |
//! |----------|-------------------------------|-----------------------------------------------------|
//! | hub      | `/own/model/resolve/REV/FILE` | small: the file; large: 302, with linked etag, size |
//! | contents | `/ETAG?signature=…`           | the file or a range of it, with an etag of its own  |

mod answer;
mod contents;
mod fault;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

pub use contents::Contents;
pub use fault::{Action, Fault};

/// The only repository.
pub const REPOSITORY: &str = "own/model";

/// What `main` stands for at first.
pub const FIRST_COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with one repository. It lives as long as the process; its ports are its own.
#[derive(Debug)]
pub struct MockHub {
    /// What `HF_ENDPOINT` must be.
    pub endpoint: String,
    state: Arc<State>,
}

/// Which of the hub's two hosts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Host {
    /// Knows repositories and asks for tokens.
    Hub,
    /// Has the contents of large files, and lets in who has a link.
    Contents,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whom it asked.
    pub host: Host,
    /// `GET` or `HEAD`.
    pub method: String,
    /// Name in the repository.
    pub file: String,
    /// The range asked for, if one was.
    pub range: Option<(u64, u64)>,
    /// Whether it showed a token.
    pub has_token: bool,
    /// Bytes of the body that were sent.
    pub sent_bytes: u64,
}

#[derive(Debug)]
struct State {
    contents_host: SocketAddr,
    /// Branch to commit.
    branches: Mutex<HashMap<String, String>>,
    /// Commit to file to contents.
    commits: Mutex<HashMap<String, HashMap<String, Arc<Contents>>>>,
    /// Etag to name and contents of what the hub has redirected to.
    links: Mutex<HashMap<String, (String, Arc<Contents>)>>,
    token: Mutex<Option<String>>,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<Vec<Request>>,
}

impl MockHub {
    /// A hub whose branch `main` has these files.
    pub fn start(files: impl IntoIterator<Item = (String, Contents)>) -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let contents = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = Arc::new(State {
            contents_host: contents.local_addr().unwrap(),
            branches: Mutex::default(),
            commits: Mutex::default(),
            links: Mutex::default(),
            token: Mutex::default(),
            faults: Mutex::default(),
            log: Mutex::default(),
        });
        let endpoint = format!("http://{}", hub.local_addr().unwrap());
        for (host, listener) in [(Host::Hub, hub), (Host::Contents, contents)] {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let state = Arc::clone(&state);
                    // A caller that hangs up early is its own affair.
                    thread::spawn(move || answer::answer(&state, host, &stream).ok());
                }
            });
        }
        let hub = Self { endpoint, state };
        let files = files.into_iter();
        hub.push(
            FIRST_COMMIT,
            files.map(|(name, contents)| (name, Arc::new(contents))),
        );
        hub
    }

    /// A hub with the files of a folder, of which those that are no JSON are large.
    pub fn of_folder(folder: &Path) -> Self {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let contents = match path.extension() {
                Some(extension) if extension == "json" => Contents::small(bytes),
                _ => Contents::large(bytes),
            };
            let name = path.file_name().unwrap().to_str().unwrap();
            (name.to_owned(), contents)
        });
        Self::start(files)
    }

    /// Moves `main` to a new commit with these files.
    pub fn push(&self, commit: &str, files: impl IntoIterator<Item = (String, Arc<Contents>)>) {
        let mut commits = self.state.commits.lock().unwrap();
        commits.insert(commit.to_owned(), files.into_iter().collect());
        let mut branches = self.state.branches.lock().unwrap();
        branches.insert("main".to_owned(), commit.to_owned());
    }

    /// A file of the first commit.
    pub fn contents(&self, file: &str) -> Arc<Contents> {
        let commits = self.state.commits.lock().unwrap();
        Arc::clone(&commits[FIRST_COMMIT][file])
    }

    /// From now on lets in only who shows this token.
    pub fn require_token(&self, token: &str) {
        *self.state.token.lock().unwrap() = Some(token.to_owned());
    }

    /// From now on something goes wrong; later faults come after earlier ones are over.
    pub fn fault(&self, fault: Fault) {
        self.state.faults.lock().unwrap().push(fault);
    }

    /// Ends all faults.
    pub fn mend(&self) {
        self.state.faults.lock().unwrap().clear();
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.log.lock().unwrap().clone()
    }

    /// Bytes sent of the files whose names start with `prefix`.
    pub fn sent_bytes(&self, prefix: &str) -> u64 {
        let log = self.state.log.lock().unwrap();
        let of_file = log
            .iter()
            .filter(|request| request.file.starts_with(prefix));
        of_file.map(|request| request.sent_bytes).sum()
    }
}
