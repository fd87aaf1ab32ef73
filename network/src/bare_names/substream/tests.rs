//! The translation against captured bytes, however they are cut.

use std::collections::VecDeque;

use futures::{AsyncReadExt, AsyncWriteExt, executor::block_on};

use super::*;

const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";
const BARE: &[u8] = b"\x15DHTProtocol.rpc_find\n";
const PREFIXED: &[u8] = b"\x1b/bare/DHTProtocol.rpc_find\n";

/// A muxer's substream: what the peer sent, and each write we made.
#[derive(Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    written: Vec<Vec<u8>>,
}

impl Wire {
    fn with(incoming: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self {
            incoming: incoming.into_iter().collect(),
            written: Vec::new(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(mut chunk) = self.incoming.pop_front() else {
            return Poll::Ready(Ok(0));
        };
        let count = chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&chunk[..count]);
        if count < chunk.len() {
            self.incoming.push_front(chunk.split_off(count));
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.push(bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn read_exact(stream: &mut BareSubstream<Wire>, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    block_on(stream.read_exact(&mut bytes)).unwrap();
    bytes
}

fn write(stream: &mut BareSubstream<Wire>, bytes: &[u8]) {
    block_on(async {
        stream.write_all(bytes).await?;
        stream.flush().await
    })
    .unwrap();
}

fn written(stream: &BareSubstream<Wire>) -> Vec<u8> {
    stream.inner.written.concat()
}

/// `bytes` in chunks of `size`.
fn cut(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    bytes.chunks(size).map(<[u8]>::to_vec).collect()
}

#[test]
fn a_go_dialers_flight_reaches_the_swarm_with_a_slash_however_it_is_cut() {
    let flight = [HEADER, BARE, b"payload"].concat();
    for size in 1..=flight.len() {
        let mut stream = BareSubstream::new(Wire::with(cut(&flight, size)), Role::Listener);
        assert_eq!(read_exact(&mut stream, HEADER.len()), HEADER);
        write(&mut stream, HEADER);
        assert_eq!(read_exact(&mut stream, PREFIXED.len()), PREFIXED);
        write(&mut stream, PREFIXED);
        assert_eq!(read_exact(&mut stream, 7), b"payload");
        write(&mut stream, b"answer");
        assert_eq!(written(&stream), [HEADER, BARE, b"answer"].concat());
    }
}

#[test]
fn after_a_refusal_the_next_proposal_is_translated_again() {
    let flight = [HEADER, b"\x0eService.other\n", BARE].concat();
    let mut stream = BareSubstream::new(Wire::with([flight]), Role::Listener);
    read_exact(&mut stream, HEADER.len());
    write(&mut stream, HEADER);
    assert_eq!(read_exact(&mut stream, 21), b"\x14/bare/Service.other\n");
    write(&mut stream, b"\x03na\n");
    assert_eq!(read_exact(&mut stream, PREFIXED.len()), PREFIXED);
    write(&mut stream, PREFIXED);
    assert_eq!(written(&stream), [HEADER, b"\x03na\n", BARE].concat());
}

#[test]
fn a_proposal_and_its_payload_leave_in_one_write() {
    let answer = [HEADER, BARE, b"reply"].concat();
    for size in 1..=answer.len() {
        let mut stream = BareSubstream::new(Wire::with(cut(&answer, size)), Role::Dialer);
        block_on(async {
            stream.write_all(HEADER).await?;
            stream.write_all(PREFIXED).await?;
            stream.write_all(b"request").await?;
            stream.flush().await
        })
        .unwrap();
        assert_eq!(stream.inner.written, [[HEADER, BARE, b"request"].concat()]);
        assert_eq!(read_exact(&mut stream, HEADER.len()), HEADER);
        assert_eq!(read_exact(&mut stream, PREFIXED.len()), PREFIXED);
        assert_eq!(read_exact(&mut stream, 5), b"reply");
    }
}

#[test]
fn a_long_payload_is_neither_lost_nor_doubled() {
    let payload: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
    let mut stream = BareSubstream::new(Wire::default(), Role::Dialer);
    write(&mut stream, &[HEADER, PREFIXED, &payload].concat());
    assert_eq!(written(&stream), [HEADER, BARE, &payload].concat());
}

#[test]
fn names_with_a_slash_and_refusals_pass_as_they_are() {
    let name = b"\x10/ipfs/ping/1.0.0\n".as_slice();
    let name = [&[17_u8], &name[1..]].concat();
    for role in [Role::Dialer, Role::Listener] {
        let incoming = [HEADER, &name, b"\x15/bare/is only payload"].concat();
        let mut stream = BareSubstream::new(Wire::with([incoming.clone()]), role);
        let outgoing = [HEADER, &name, PREFIXED].concat();
        write(&mut stream, &outgoing);
        assert_eq!(read_exact(&mut stream, incoming.len()), incoming);
        assert_eq!(written(&stream), outgoing);
    }
    let mut refused =
        BareSubstream::new(Wire::with([[HEADER, b"\x03na\n"].concat()]), Role::Dialer);
    write(&mut refused, &[HEADER, PREFIXED].concat());
    assert_eq!(
        read_exact(&mut refused, HEADER.len() + 4),
        [HEADER, b"\x03na\n"].concat()
    );
}

#[test]
fn nonsense_passes_through_for_the_swarm_to_refuse() {
    for nonsense in [
        &b"\xff\xff\xff\xff"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x03abcdef",
        b"\x05ab",
    ] {
        let mut stream = BareSubstream::new(Wire::with(cut(nonsense, 2)), Role::Listener);
        assert_eq!(read_exact(&mut stream, nonsense.len()), nonsense);
    }
}
