//! One HTTP GET to our own admin port; the reply is bounded in size and time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Status code and body of a reply.
#[derive(Debug)]
pub(crate) struct HttpReply {
    /// Status code.
    pub(crate) status: u16,
    /// Body, not decoded.
    pub(crate) body: Vec<u8>,
}

/// Asks `address` for `path`.
///
/// # Errors
/// No connection, no answer within 5 s, more than 1 MiB, or no HTTP.
pub(crate) async fn get(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
) -> io::Result<HttpReply> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let authorization = token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.take(MAX_REPLY_BYTES).read_to_end(&mut reply).await?;
        parse(&reply)
    };
    tokio::time::timeout(DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Splits a reply that ends with its connection; our server never sends chunks to us.
fn parse(reply: &[u8]) -> io::Result<HttpReply> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
    let end = reply
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(malformed)?;
    let head = std::str::from_utf8(&reply[..end]).map_err(|_| malformed())?;
    let mut words = head.split_whitespace();
    let is_http = words
        .next()
        .is_some_and(|version| version.starts_with("HTTP/1."));
    let status = words
        .next()
        .and_then(|code| code.parse().ok())
        .filter(|_| is_http)
        .ok_or_else(malformed)?;
    Ok(HttpReply {
        status,
        body: reply[end + 4..].to_vec(),
    })
}

/// Longest wait for the whole exchange; the port is on this machine.
const DEADLINE: Duration = Duration::from_secs(5);
/// Largest reply read: `/metrics` has about 100 KiB.
const MAX_REPLY_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_split_and_nonsense_is_refused() {
        let reply = parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}").unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b"{}"[..]));
        for wrong in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0 200\r\n\r\n",
            b"HTTP/1.1 no\r\n\r\n",
            b"\xff\r\n\r\n",
        ] {
            assert!(parse(wrong).is_err());
        }
    }
}
