//! One substream with the translation in front of it.
//!
//! States of each direction: *translating* (line by line) until the name is settled, then
//! *passing*.
//! - Dialer: writing passes after the first proposal, reading after the answer to it, at once if
//!   the proposal was none of ours.
//! - Listener: both pass once the swarm has written its agreement; a refusal (`na`) leaves them
//!   translating, for the next proposal.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use futures::{AsyncRead, AsyncWrite};

use super::{
    PREFIX,
    line::{self, Front, Line},
};
use crate::traffic::Traffic;

/// Which side opened the substream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Dialer,
    Listener,
}

/// A substream as the swarm sees it.
#[derive(Debug)]
pub(crate) struct BareSubstream<S> {
    inner: S,
    role: Role,
    reading: Direction,
    writing: Direction,
    /// The last proposal, if it was one without a slash.
    bare_name: Option<String>,
    traffic: Traffic,
}

#[derive(Debug)]
struct Direction {
    translating: bool,
    /// Not translated yet; less than a line when writing.
    raw: BytesMut,
    /// Translated, on its way out of this type.
    ready: BytesMut,
}

/// Bytes asked of the muxer while lines are read: a negotiation and a small payload.
const READ_AHEAD_BYTES: usize = 512;

/// First payload bytes that travel in the same muxer frame as the proposal, which is otherwise a
/// frame, an encryption and often a packet of its own. One muxer frame holds 16 KiB.
const JOINED_BYTES: usize = 16 << 10;

impl<S> BareSubstream<S> {
    pub(super) fn new(inner: S, role: Role) -> Self {
        let direction = || Direction {
            translating: true,
            raw: BytesMut::new(),
            ready: BytesMut::new(),
        };
        Self {
            inner,
            role,
            reading: direction(),
            writing: direction(),
            bare_name: None,
            traffic: Traffic::default(),
        }
    }

    /// Takes one whole line from the peer.
    fn on_received(&mut self, text: &BytesMut) {
        match (self.role, line::read(text)) {
            (Role::Dialer, Line::Name(name)) if self.bare_name.as_deref() == Some(name) => {
                line::put_prefixed(name, &mut self.reading.ready);
                self.reading.translating = false;
                return;
            }
            (Role::Dialer, Line::Name(_) | Line::NotAvailable) => self.reading.translating = false,
            (Role::Listener, Line::Name(name)) => {
                self.traffic.classify(name);
                self.bare_name = (!name.starts_with('/')).then(|| name.to_owned());
                if self.bare_name.is_some() {
                    line::put_prefixed(name, &mut self.reading.ready);
                    return;
                }
            }
            (_, Line::Header | Line::List) | (Role::Listener, Line::NotAvailable) => {}
        }
        self.reading.ready.extend_from_slice(text);
    }

    /// Takes one whole line from the swarm.
    fn on_written(&mut self, text: &BytesMut) {
        let Line::Name(name) = line::read(text) else {
            self.writing.ready.extend_from_slice(text);
            return;
        };
        self.writing.translating = false;
        let bare = name.strip_prefix(PREFIX);
        match (self.role, bare) {
            (Role::Dialer, Some(bare)) => {
                self.traffic.classify(bare);
                self.bare_name = Some(bare.to_owned());
                line::put_name(bare, &mut self.writing.ready);
                return;
            }
            (Role::Dialer, None) => {
                self.traffic.classify(name);
                self.reading.translating = false;
            }
            (Role::Listener, bare) => {
                self.reading.translating = false;
                if let Some(bare) = bare.filter(|bare| self.bare_name.as_deref() == Some(bare)) {
                    line::put_name(bare, &mut self.writing.ready);
                    return;
                }
            }
        }
        self.writing.ready.extend_from_slice(text);
    }

    /// Takes bytes from the swarm up to the end of the negotiation; says how many.
    fn translate_written(&mut self, bytes: &[u8]) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            if !self.writing.translating {
                return index;
            }
            self.writing.raw.extend_from_slice(&[*byte]);
            match line::front(&self.writing.raw) {
                Front::Incomplete => {}
                Front::Line(_) => {
                    let text = self.writing.raw.split();
                    self.on_written(&text);
                }
                Front::Other => {
                    self.writing.translating = false;
                    self.reading.translating = false;
                    let raw = self.writing.raw.split();
                    self.writing.ready.unsplit(raw);
                }
            }
        }
        bytes.len()
    }
}

impl<S: AsyncWrite + Unpin> BareSubstream<S> {
    /// Hands every translated byte to the muxer.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.writing.ready.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.writing.ready))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.traffic.sent(written);
            self.writing.ready.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BareSubstream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            if !this.reading.ready.is_empty() {
                let count = buffer.len().min(this.reading.ready.len());
                this.reading.ready.copy_to_slice(&mut buffer[..count]);
                return Poll::Ready(Ok(count));
            }
            if !this.reading.translating {
                if this.reading.raw.is_empty() {
                    let count = ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
                    this.traffic.received(count);
                    return Poll::Ready(Ok(count));
                }
                this.reading.ready = this.reading.raw.split();
                continue;
            }
            match line::front(&this.reading.raw) {
                Front::Line(length) => {
                    let text = this.reading.raw.split_to(length);
                    this.on_received(&text);
                }
                Front::Other => this.reading.translating = false,
                Front::Incomplete => {
                    let mut chunk = [0; READ_AHEAD_BYTES];
                    let count = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut chunk))?;
                    this.traffic.received(count);
                    this.reading.raw.extend_from_slice(&chunk[..count]);
                    if count == 0 {
                        this.reading.translating = false;
                    }
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BareSubstream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.writing.translating {
            return Poll::Ready(Ok(this.translate_written(bytes)));
        }
        if this.writing.ready.len() >= JOINED_BYTES {
            ready!(this.poll_drain(cx))?;
        }
        if this.writing.ready.is_empty() {
            let written = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
            this.traffic.sent(written);
            return Poll::Ready(Ok(written));
        }
        // Sent with the next write or flush; every caller of a stream flushes what it wrote.
        let count = bytes.len().min(JOINED_BYTES - this.writing.ready.len());
        this.writing.ready.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests;
