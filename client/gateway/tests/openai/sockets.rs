//! A WebSocket client, as other programs have one.

use std::net::SocketAddr;
use std::time::Duration;

use block_testing::PATIENCE;
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::world::on_runtime;

/// A WebSocket after its handshake.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    /// The protocol that the server took.
    pub(crate) protocol: Option<String>,
    /// Pings that came so far.
    pub(crate) pings: usize,
}

/// What came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Came {
    Json(Value),
    /// The server closed, with this code.
    Closed(Option<u16>),
}

impl Client {
    /// # Errors
    /// Status and body of a handshake that was refused.
    pub(crate) fn connect(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, Value)> {
        let url = format!("ws://localhost:{}{path}", address.port());
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
        let connected = on_runtime(async {
            let stream = TcpStream::connect(address).await.unwrap();
            timeout(PATIENCE, tokio_tungstenite::client_async(request, stream))
                .await
                .unwrap()
        });
        match connected {
            Ok((socket, response)) => Ok(Self {
                socket,
                protocol: response
                    .headers()
                    .get("sec-websocket-protocol")
                    .map(|protocol| protocol.to_str().unwrap().to_owned()),
                pings: 0,
            }),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body = serde_json::from_slice(body).unwrap_or_default();
                Err((response.status().as_u16(), body))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string());
    }

    pub(crate) fn say_text(&mut self, text: &str) {
        let sent = self.socket.send(Message::text(text));
        on_runtime(sent).unwrap();
    }

    /// The next message, or the end.
    pub(crate) fn hear(&mut self) -> Came {
        on_runtime(async {
            loop {
                let message = timeout(PATIENCE, self.socket.next()).await.unwrap();
                match message {
                    Some(Ok(Message::Text(text))) => {
                        return Came::Json(serde_json::from_str(&text).unwrap());
                    }
                    Some(Ok(Message::Close(frame))) => {
                        return Came::Closed(frame.map(|frame| frame.code.into()));
                    }
                    Some(Ok(Message::Ping(_))) => self.pings += 1,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Came::Closed(None),
                }
            }
        })
    }

    /// The next message.
    pub(crate) fn json(&mut self) -> Value {
        match self.hear() {
            Came::Json(value) => value,
            Came::Closed(code) => panic!("closed: {code:?}"),
        }
    }

    /// All messages up to the end, and its code.
    pub(crate) fn rest(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut all = Vec::new();
        loop {
            match self.hear() {
                Came::Json(value) => all.push(value),
                Came::Closed(code) => return (all, code),
            }
        }
    }

    /// Reads until some pings have come.
    pub(crate) fn hear_pings(&mut self, count: usize) {
        let patience = Duration::from_secs(30);
        on_runtime(async {
            let reading = async {
                while self.pings < count {
                    let message = self.socket.next().await;
                    if let Some(Ok(Message::Ping(_))) = message {
                        self.pings += 1;
                    }
                    assert!(message.is_some_and(|message| message.is_ok()));
                }
            };
            timeout(patience, reading).await.unwrap();
        });
    }
}
