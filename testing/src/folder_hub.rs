//! A hub that has the files of one folder, whoever asks for them.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Serves a folder as every repository, at one commit. It lives as long as the test.
#[derive(Debug)]
pub struct FolderHub {
    /// What `HF_ENDPOINT` must be.
    pub endpoint: String,
    sent: Arc<AtomicU64>,
}

impl FolderHub {
    /// Starts serving `folder` on a free port of this machine.
    pub fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let sent = Arc::new(AtomicU64::new(0));
        let (folder, count) = (folder.to_owned(), Arc::clone(&sent));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (folder, count) = (folder.clone(), Arc::clone(&count));
                // A client that hangs up is its own affair.
                thread::spawn(move || answer(stream, &folder, &count).ok());
            }
        });
        Self { endpoint, sent }
    }

    /// Bytes of safetensors files sent so far, headers of the files included.
    pub fn weight_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn answer(mut stream: TcpStream, folder: &Path, sent: &AtomicU64) -> std::io::Result<()> {
    let lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let mut words = lines.first().map(String::as_str).unwrap_or("").split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let name = path.rsplit('/').next().unwrap_or("");
    let file: PathBuf = folder.join(name);
    if !path.contains("/resolve/") || !file.is_file() {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nx-error-code: EntryNotFound\r\n\
             connection: close\r\n\r\n"
        );
    }
    let size = file.metadata()?.len();
    let range = lines.iter().find_map(|line| asked_range(line, size));
    let (start, end) = range.unwrap_or((0, size));
    let status = match range {
        Some(_) => format!(
            "206 Partial Content\r\ncontent-range: bytes {start}-{}/{size}",
            end - 1
        ),
        None => "200 OK".to_owned(),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\naccept-ranges: bytes\r\netag: \"{name}\"\r\n\
         x-repo-commit: {COMMIT}\r\nconnection: close\r\n\r\n",
        end - start
    )?;
    if method == "GET" {
        let mut file = std::fs::File::open(file)?;
        file.seek(SeekFrom::Start(start))?;
        let copied = std::io::copy(&mut file.take(end - start), &mut stream)?;
        if name.ends_with(".safetensors") {
            sent.fetch_add(copied, Ordering::Relaxed);
        }
    }
    stream.flush()
}

/// The half-open range that a header asks for, if it is one: `range: bytes=0-99`.
fn asked_range(line: &str, size: u64) -> Option<(u64, u64)> {
    let (name, value) = line.split_once(':')?;
    let (start, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
    let start = start.parse().ok()?;
    let end = last.parse().map_or(size, |last: u64| last + 1).min(size);
    (name.eq_ignore_ascii_case("range") && start < end).then_some((start, end))
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
