//! Runs our programs with a home of their own, so that no test touches the real one.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use tempfile::TempDir;

use crate::PATIENCE;
use crate::folders::fable;
use crate::programs::program;

/// Gives `command` an environment with nothing in it but `home`.
pub(crate) fn at_home<'a>(command: &'a mut Command, home: &Path) -> &'a mut Command {
    command
        .env_clear()
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_STATE_HOME", home.join("state"))
        .env("XDG_CACHE_HOME", home.join("cache"))
}

/// A home folder for one test of one program.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    program: &'static str,
    real: RealHome,
}

impl Home {
    /// An empty home for `block-server` or `swarm`.
    pub fn new(program: &'static str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            program,
            real: RealHome::look(),
        }
    }

    /// The home folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The program with an empty environment but for this home.
    pub fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        self.command_of(self.program, args)
    }

    /// Another of our programs in the same home.
    pub fn command_of<'a>(&self, name: &str, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(program(name));
        at_home(&mut command, self.path())
            .args(args)
            .env("HF_HOME", self.path().join("hub"))
            .env("HF_HUB_OFFLINE", "1")
            // The default port belongs to whoever comes first on this machine.
            .env("BLOCK_SERVER_ADMIN_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .current_dir(self.path());
        command
    }

    /// Runs to the end, asking `hub` for what is not in the empty cache.
    pub fn output_with_hub<'a>(
        &self,
        hub: &crate::RefusingHub,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Finished {
        let mut command = self.command(args);
        command
            .env_remove("HF_HUB_OFFLINE")
            .env("HF_ENDPOINT", &hub.endpoint);
        Finished::of(command)
    }

    /// Runs to the end.
    pub fn output<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Finished {
        Finished::of(self.command(args))
    }

    /// Starts a `block-server` of the repository's model on free loopback ports and waits for READY.
    pub fn serve(&self, extra: &[&str]) -> Server {
        let model = fable();
        let mut args = vec!["--model", model.to_str().unwrap()];
        args.extend([
            "--listen-maddr",
            "/ip4/127.0.0.1/tcp/0",
            "--admin-listen",
            "127.0.0.1:0",
        ]);
        if !extra.contains(&"--throughput") {
            args.extend(["--throughput", "10"]);
        }
        args.extend(extra);
        Server::start(self.command_of("block-server", args))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test that fails already says why.
        if !std::thread::panicking() {
            let now = RealHome::look();
            assert_eq!(
                now, self.real,
                "a test touched the home of the person who runs it"
            );
        }
    }
}

/// What our programs keep in the home of the person who runs the tests: each file with the time of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RealHome(Vec<(PathBuf, i64, i64)>);

impl RealHome {
    fn look() -> Self {
        let mut found = Vec::new();
        let home = std::env::home_dir().unwrap_or_default();
        let place = |variable: &str, default: &str| {
            std::env::var_os(variable).map_or_else(|| home.join(default), PathBuf::from)
        };
        let places = [
            place("XDG_CONFIG_HOME", ".config"),
            place("XDG_STATE_HOME", ".local/state"),
        ];
        for folder in places {
            for program in ["block-server", "swarm"] {
                push_files(&mut found, folder.join(program));
            }
        }
        Self(found)
    }
}

fn push_files(found: &mut Vec<(PathBuf, i64, i64)>, path: PathBuf) {
    let Ok(metadata) = path.symlink_metadata() else {
        return;
    };
    let inner = std::fs::read_dir(&path).into_iter().flatten().flatten();
    let mut inner: Vec<PathBuf> = inner.map(|entry| entry.path()).collect();
    inner.sort();
    found.push((path, metadata.mtime(), metadata.mtime_nsec()));
    for path in inner {
        push_files(found, path);
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Finished {
    /// Asserts a failure: exit code, nothing on stdout, and parts of the text on stderr.
    pub fn fails_with(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        assert_eq!(self.stdout, "", "stdout of a failure is empty");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} in {}", self.stderr);
        }
    }
}

impl Finished {
    /// Runs to the end; a run that does not end is killed and fails the test.
    fn of(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = read_all(child.stdout.take().unwrap());
        let stderr = read_all(child.stderr.take().unwrap());
        let stdout = stdout.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            child.kill().unwrap();
            panic!(
                "still running after {PATIENCE:?}: {}",
                stderr.recv().unwrap()
            );
        });
        let code = child.wait().unwrap().code();
        Self {
            code,
            stdout,
            stderr: stderr.recv().unwrap(),
        }
    }
}

/// Reads a pipe to its end on a thread of its own.
fn read_all(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        let _ = sender.send(text);
    });
    receiver
}

/// A running server; it is killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: JoinHandle<String>,
    /// The address after READY.
    pub address: String,
    /// `IP:PORT` of the admin port.
    pub admin_address: String,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, admin) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            for line in lines.map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("admin port listens") {
                    let address = rest
                        .split_once("address=")
                        .map_or("", |(_, address)| address);
                    let _ = sender.send(address.split_whitespace().next().unwrap_or("").to_owned());
                }
                text.push_str(&line);
                text.push('\n');
            }
            text
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Some(address) = line.trim_end().strip_prefix("READY ") else {
            let _ = child.kill();
            panic!("no READY but {line:?}; stderr: {}", stderr.join().unwrap());
        };
        let address = address.to_owned();
        let admin_address = admin.recv_timeout(PATIENCE).unwrap();
        Self {
            child,
            stdout,
            stderr,
            address,
            admin_address,
        }
    }

    /// The process identifier.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the end; the rest of stdout must be empty.
    pub fn wait(mut self) -> Finished {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        // A panic of the reader is a broken pipe of the test itself.
        let stderr = std::mem::replace(&mut self.stderr, std::thread::spawn(String::new))
            .join()
            .unwrap();
        Finished {
            code: status.code(),
            stdout: rest,
            stderr,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only what this test started; it is gone already if the test waited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GET of the admin port: status code and body.
pub fn admin_get(address: &str, path: &str) -> (u16, String) {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (
        head.split_whitespace().nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}
