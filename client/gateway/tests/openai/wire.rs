//! HTTP over a raw socket.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use block_testing::PATIENCE;
use serde_json::Value;

/// An answer whose head has been read.
pub(crate) struct Wire {
    pub(crate) status: u16,
    /// By lower-case names.
    pub(crate) headers: BTreeMap<String, String>,
    body: BufReader<TcpStream>,
    is_chunked: bool,
    left: usize,
}

/// Sends a request without waiting for anything.
pub(crate) fn send(
    address: SocketAddr,
    (method, path): (&str, &str),
    body: Option<&Value>,
) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    send_over(&stream, (method, path), body);
    stream
}

pub(crate) fn send_over(stream: &TcpStream, call: (&str, &str), body: Option<&Value>) {
    write(stream, call, "", body);
}

/// Sends a request with an API key.
pub(crate) fn send_as(
    key: &str,
    address: SocketAddr,
    call: (&str, &str),
    body: Option<&Value>,
) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    let header = format!("authorization: Bearer {key}\r\n");
    write(&stream, call, &header, body);
    stream
}

fn write(mut stream: &TcpStream, (method, path): (&str, &str), more: &str, body: Option<&Value>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{more}\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
}

impl Wire {
    /// Reads the head of an answer.
    pub(crate) fn read(stream: TcpStream) -> Self {
        let mut body = BufReader::new(stream);
        let mut line = String::new();
        body.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}"));
        let status = status.parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            body.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let length = headers
            .get("content-length")
            .map(|length| length.parse().unwrap());
        Self {
            is_chunked: headers.contains_key("transfer-encoding"),
            status,
            headers,
            body,
            left: length.unwrap_or(0),
        }
    }

    /// The next bytes, as they come; none at the end.
    pub(crate) fn some(&mut self) -> Vec<u8> {
        if !self.is_chunked {
            let mut bytes = vec![0; std::mem::take(&mut self.left)];
            self.body.read_exact(&mut bytes).unwrap();
            return bytes;
        }
        let mut line = String::new();
        self.body.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut bytes = vec![0; size + 2];
        self.body.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes.split_off(size), b"\r\n");
        bytes
    }

    /// All of the rest.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let bytes = self.some();
            if bytes.is_empty() {
                return all;
            }
            all.extend(bytes);
        }
    }

    pub(crate) fn json(self) -> Value {
        let body = self.rest();
        serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&body)))
    }
}
