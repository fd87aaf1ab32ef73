//! A WebSocket whose peer may be slow, silent or hostile: every message is bounded, every wait has an end.
//!
//! Pings go out in [`Socket::hear`]; a peer that left three of them unanswered is gone. A peer that takes a message
//! for longer than its patience is told so, if it still reads, and let go.

use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::api_error::{ApiError, ErrorCode};

/// How long a socket waits for its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketPatience {
    /// Between two pings.
    pub(crate) ping: Duration,
    /// Until a message has been taken.
    pub(crate) reader: Duration,
}

/// A socket after its handshake.
#[derive(Debug)]
pub(crate) struct Socket {
    inner: WebSocket,
    pings: Interval,
    /// Pings since something came from the peer.
    unanswered: u32,
    patience: SocketPatience,
    /// Its place among those that may be open.
    _place: OwnedSemaphorePermit,
}

/// What a peer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Text(String),
    /// It closed, fell silent, or sent what no client sends.
    Gone,
}

/// The peer takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// Why the server ends a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// All is said.
    Done,
    /// The peer did what it may not.
    Refused(&'static str),
}

/// Accepts a handshake, and runs `talk` with the socket. `max_message`: largest message of the peer, bytes.
///
/// # Errors
/// It is no handshake, or too many sockets are open.
pub(crate) fn accept<F, T>(
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    (patience, max_message): (SocketPatience, usize),
    place: Option<OwnedSemaphorePermit>,
    talk: F,
) -> Result<Response, ApiError>
where
    F: FnOnce(Socket) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let upgrade = upgrade.map_err(|rejection| {
        let text = format!("this path is a WebSocket: {rejection}");
        ApiError::new(ErrorCode::InvalidValue, text)
    })?;
    let place = place.ok_or_else(|| {
        ApiError::new(ErrorCode::QueueFull, "too many WebSockets are open")
            .retry_after(SOCKETS_FULL_WAIT)
    })?;
    let upgrade = upgrade
        .max_message_size(max_message)
        .max_frame_size(max_message)
        // One message at most waits in memory: whoever sends waits for it to be taken.
        .write_buffer_size(0);
    Ok(upgrade.on_upgrade(move |inner| talk(Socket::new(inner, patience, place))))
}

impl Socket {
    fn new(inner: WebSocket, patience: SocketPatience, place: OwnedSemaphorePermit) -> Self {
        let mut pings = interval_at(Instant::now() + patience.ping, patience.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            inner,
            pings,
            unanswered: 0,
            patience,
            _place: place,
        }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// The peer did not take it in time, or has gone.
    pub(crate) async fn say(&mut self, message: &Value) -> Result<(), Gone> {
        let message = Message::Text(message.to_string().into());
        match timeout(self.patience.reader, self.inner.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Gone),
            Err(_) => {
                self.say_farewell(close_code::POLICY, "nobody read this socket for too long")
                    .await;
                Err(Gone)
            }
        }
    }

    /// The next text, or the end. Sends pings while it waits. Cancel-safe: what has come is not lost.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            let message = tokio::select! {
                // What has come already is a sign of life.
                biased;
                message = self.inner.recv() => message,
                _ = self.pings.tick() => {
                    if self.unanswered >= SILENT_PINGS {
                        return Heard::Gone;
                    }
                    self.unanswered += 1;
                    let ping = self.inner.send(Message::Ping(Vec::new().into()));
                    match timeout(self.patience.reader, ping).await {
                        Ok(Ok(())) => continue,
                        Ok(Err(_)) | Err(_) => return Heard::Gone,
                    }
                }
            };
            self.unanswered = 0;
            match message {
                Some(Ok(Message::Text(text))) => return Heard::Text(text.to_string()),
                // Pings are answered below this.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Binary(_))) => {
                    self.say_farewell(close_code::UNSUPPORTED, "text messages only")
                        .await;
                    return Heard::Gone;
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "a WebSocket broke off");
                    self.say_farewell(close_code::SIZE, "a broken or too large message")
                        .await;
                    return Heard::Gone;
                }
                Some(Ok(Message::Close(_))) | None => return Heard::Gone,
            }
        }
    }

    /// Ends the conversation politely, and waits a moment for the peer to have read all.
    pub(crate) async fn close(mut self, farewell: Farewell) {
        let (code, reason) = match farewell {
            Farewell::Done => (close_code::NORMAL, ""),
            Farewell::Refused(reason) => (close_code::POLICY, reason),
        };
        self.say_farewell(code, reason).await;
        // What is closed with bytes unread is reset, and the peer may lose the last messages.
        let _ = timeout(CLOSE_DEADLINE, async {
            while let Some(Ok(_)) = self.inner.recv().await {}
        })
        .await;
    }

    async fn say_farewell(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        // Whoever has gone needs no farewell.
        let _ = timeout(CLOSE_DEADLINE, self.inner.send(Message::Close(Some(frame)))).await;
    }
}

/// Pings without any sign of life after which a peer is gone.
const SILENT_PINGS: u32 = 3;
/// How long a farewell may take: a round trip of a slow line.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// When somebody may have closed one.
pub(crate) const SOCKETS_FULL_WAIT: Duration = Duration::from_secs(10);
