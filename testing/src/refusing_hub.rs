//! A hub that answers every request with one refusal.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// A hub with nothing for anybody. It lives as long as the test.
#[derive(Debug)]
pub struct RefusingHub {
    /// What `HF_ENDPOINT` must be.
    pub endpoint: String,
}

impl RefusingHub {
    /// Refuses with `status` (`401 Unauthorized`) and the hub's own `error` code (`GatedRepo`).
    pub fn start(status: &'static str, error: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that hangs up is its own affair.
                let _ = refuse(stream, status, error);
            }
        });
        Self { endpoint }
    }
}

fn refuse(mut stream: TcpStream, status: &str, error: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: 0\r\nx-error-code: {error}\r\nconnection: close\r\n\r\n"
    )?;
    stream.flush()
}
