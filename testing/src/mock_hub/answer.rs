//! One request to the mock hub and its answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::contents::BUFFER_BYTES;
use super::{Action, Contents, Host, REPOSITORY, Request, State};

/// What the request line and the headers say.
struct Asked {
    method: String,
    path: String,
    range: Option<(u64, u64)>,
    token: Option<String>,
}

/// What was asked for.
struct Found {
    file: String,
    commit: String,
    contents: Arc<Contents>,
}

/// An answer under way.
struct Answer<'a> {
    state: &'a State,
    /// Of the request in the log.
    number: usize,
    stream: &'a TcpStream,
    out: io::BufWriter<&'a TcpStream>,
    action: Option<Action>,
}

pub(super) fn answer(state: &State, host: Host, stream: &TcpStream) -> io::Result<()> {
    let asked = Asked::read(stream)?;
    let found = match host {
        Host::Hub => state.resolve(&asked),
        Host::Contents => state.linked(&asked.path),
    };
    let file = match &found {
        Ok(found) => found.file.clone(),
        Err((file, _)) => file.clone(),
    };
    let mut answer = Answer {
        state,
        number: state.log(host, &asked, &file),
        stream,
        out: io::BufWriter::new(stream),
        action: state.fault(host, &asked.method, &file),
    };
    if let Some(Action::Refuse {
        status,
        code,
        retry_after,
    }) = answer.action
    {
        return answer.refuse(status, code, retry_after);
    }
    match found {
        Ok(_) if host == Host::Hub && !state.lets_in(asked.token.as_deref()) => {
            answer.refuse("401 Unauthorized", "GatedRepo", None)
        }
        Err((_, code)) => answer.refuse("404 Not Found", code, None),
        Ok(found) if host == Host::Hub && found.contents.is_large() => answer.redirect(&found),
        Ok(found) => answer.send(&asked, &found),
    }
}

impl Answer<'_> {
    fn refuse(&mut self, status: &str, code: &str, retry_after: Option<u64>) -> io::Result<()> {
        let retry_after =
            retry_after.map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
        write!(
            self.out,
            "HTTP/1.1 {status}\r\ncontent-length: 0\r\nx-error-code: {code}\r\n{retry_after}\
             connection: close\r\n\r\n"
        )?;
        self.out.flush()
    }

    /// Sends the caller to the host of contents.
    fn redirect(&mut self, found: &Found) -> io::Result<()> {
        let etag = found.contents.etag();
        let link = (found.file.clone(), Arc::clone(&found.contents));
        let mut links = self.state.links.lock().unwrap();
        links.insert(etag.to_owned(), link);
        write!(
            self.out,
            "HTTP/1.1 302 Found\r\ncontent-length: 0\r\netag: \"redirect\"\r\n\
             x-linked-etag: \"{}\"\r\nx-linked-size: {}\r\nx-repo-commit: {}\r\n\
             location: http://{}/{etag}?signature=secret\r\nconnection: close\r\n\r\n",
            self.etag(found),
            found.contents.size(),
            found.commit,
            self.state.contents_host,
        )?;
        self.out.flush()
    }

    /// Sends the file or a range of it, or only what would come before.
    fn send(&mut self, asked: &Asked, found: &Found) -> io::Result<()> {
        let size = found.contents.size();
        let is_ignored = matches!(self.action, Some(Action::SendWhole));
        let range = asked.range.filter(|_| !is_ignored);
        let (start, end) = range.map_or((0, size), |(start, end)| (start, end.min(size)));
        let status = match range {
            Some(_) => {
                let last = end.saturating_sub(1);
                format!("206 Partial Content\r\ncontent-range: bytes {start}-{last}/{size}")
            }
            None => "200 OK".to_owned(),
        };
        let of_hub = if found.contents.is_large() {
            "etag: \"of-the-contents-host\"".to_owned()
        } else {
            let commit = &found.commit;
            format!("etag: \"{}\"\r\nx-repo-commit: {commit}", self.etag(found))
        };
        let claim = match self.action {
            Some(Action::ClaimWhole) => format!("x-linked-size: {size}\r\n"),
            _ => String::new(),
        };
        write!(
            self.out,
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{of_hub}\r\n{claim}accept-ranges: bytes\r\n\
             connection: close\r\n\r\n",
            end - start
        )?;
        if asked.method == "GET" {
            self.body(&found.contents, start, end)?;
        }
        self.out.flush()
    }

    fn body(&mut self, contents: &Contents, start: u64, end: u64) -> io::Result<()> {
        let stop = match self.action {
            Some(Action::Cut(bytes) | Action::Stall(bytes)) => end.min(start + bytes),
            _ => end,
        };
        for at in (start..stop).step_by(BUFFER_BYTES) {
            let mut bytes = contents.read(at, stop.min(at + BUFFER_BYTES as u64));
            if at == start && matches!(self.action, Some(Action::Flip)) {
                bytes[0] ^= 1;
            }
            self.out.write_all(&bytes)?;
            self.out.flush()?;
            let mut log = self.state.log.lock().unwrap();
            log[self.number].sent_bytes += bytes.len() as u64;
        }
        if stop < end && matches!(self.action, Some(Action::Stall(_))) {
            // Until the caller hangs up.
            self.stream.read_exact(&mut [0])?;
        }
        Ok(())
    }

    /// The hub's name for the contents.
    fn etag<'a>(&self, found: &'a Found) -> &'a str {
        match self.action {
            Some(Action::Rename(etag)) => etag,
            _ => found.contents.etag(),
        }
    }
}

impl Asked {
    fn read(stream: &TcpStream) -> io::Result<Self> {
        let lines: Result<Vec<_>, _> = BufReader::new(stream)
            .lines()
            .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
            .collect();
        let lines = lines?;
        let header = |name: &str| {
            let named = lines.iter().filter_map(|line| line.split_once(": "));
            let mut named = named.filter(|(key, _)| key.eq_ignore_ascii_case(name));
            named.next().map(|(_, value)| value.to_owned())
        };
        let mut words = lines.first().map_or("", String::as_str).split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let range = header("range").and_then(|range| {
            let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let last: u64 = last.parse().unwrap_or(u64::MAX - 1);
            Some((start.parse().ok()?, last + 1))
        });
        Ok(Self {
            method: word(),
            path: word(),
            range,
            token: header("authorization"),
        })
    }
}

impl State {
    /// The file that a path names, or the name of the file and what is not there.
    fn resolve(&self, asked: &Asked) -> Result<Found, (String, &'static str)> {
        let path = asked.path.replace("%2F", "/");
        let rest = path.strip_prefix(&format!("/{REPOSITORY}/resolve/"));
        let Some((revision, file)) = rest.and_then(|rest| rest.rsplit_once('/')) else {
            return Err((path.clone(), "RepoNotFound"));
        };
        let branches = self.branches.lock().unwrap();
        let commit = branches.get(revision).map_or(revision, String::as_str);
        let commits = self.commits.lock().unwrap();
        let missing = |code| (file.to_owned(), code);
        let files = commits
            .get(commit)
            .ok_or_else(|| missing("RevisionNotFound"))?;
        let contents = files.get(file).ok_or_else(|| missing("EntryNotFound"))?;
        Ok(Found {
            file: file.to_owned(),
            commit: commit.to_owned(),
            contents: Arc::clone(contents),
        })
    }

    /// The file that a link from the hub leads to.
    fn linked(&self, path: &str) -> Result<Found, (String, &'static str)> {
        let etag = path
            .trim_start_matches('/')
            .strip_suffix("?signature=secret");
        let links = self.links.lock().unwrap();
        let linked = etag.and_then(|etag| links.get(etag));
        let (file, contents) = linked.ok_or_else(|| (path.to_owned(), "NoSuchKey"))?;
        Ok(Found {
            file: file.clone(),
            commit: String::new(),
            contents: Arc::clone(contents),
        })
    }

    fn lets_in(&self, token: Option<&str>) -> bool {
        let required = self.token.lock().unwrap();
        let required = required.as_ref().map(|token| format!("Bearer {token}"));
        required.is_none() || required.as_deref() == token
    }

    fn fault(&self, host: Host, method: &str, file: &str) -> Option<Action> {
        let mut faults = self.faults.lock().unwrap();
        faults
            .iter_mut()
            .find_map(|fault| fault.strikes(host, method, file))
    }

    /// Enters a request; returns its number.
    fn log(&self, host: Host, asked: &Asked, file: &str) -> usize {
        let mut log = self.log.lock().unwrap();
        log.push(Request {
            host,
            method: asked.method.clone(),
            file: file.to_owned(),
            range: asked.range,
            has_token: asked.token.is_some(),
            sent_bytes: 0,
        });
        log.len() - 1
    }
}
