//! One line of multistream-select: unsigned varint length, text, `\n` (counted by the length).
//!
//! Only what the translation needs; libp2p's own parser sees every line afterwards.

use bytes::{BufMut, BytesMut};

use super::PREFIX;

/// Longest line that is looked at, newline included; longer ones pass as they are. The longest
/// handler name in use has 48 bytes.
const MAX_LINE_BYTES: usize = 1024;

const HEADER: &[u8] = b"/multistream/1.0.0";
const NOT_AVAILABLE: &[u8] = b"na";
const LIST: &[u8] = b"ls";

/// What stands at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// Part of a line.
    Incomplete,
    /// A whole line of this many bytes, prefix included.
    Line(usize),
    /// No line of this protocol.
    Other,
}

/// Looks at the front of `buffer`.
pub(super) fn front(buffer: &[u8]) -> Front {
    let (length, prefix) = match *buffer {
        [] => return Front::Incomplete,
        [low, ..] if low < 0x80 => (usize::from(low), 1),
        [_] => return Front::Incomplete,
        [low, high, ..] if high < 0x80 => (usize::from(low & 0x7f) | usize::from(high) << 7, 2),
        _ => return Front::Other,
    };
    if length == 0 || length > MAX_LINE_BYTES {
        return Front::Other;
    }
    match buffer.get(prefix + length - 1) {
        None => Front::Incomplete,
        Some(b'\n') => Front::Line(prefix + length),
        Some(_) => Front::Other,
    }
}

/// What a whole line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// The multistream version.
    Header,
    /// `na`: the last proposal is refused.
    NotAvailable,
    /// A question for, or an answer with, the list of names.
    List,
    /// A name, proposed or agreed to.
    Name(&'a str),
}

/// Reads a line found by [`front`].
pub(super) fn read(line: &[u8]) -> Line<'_> {
    let prefix = if line.first().is_some_and(|byte| *byte >= 0x80) {
        2
    } else {
        1
    };
    let text = line.get(prefix..line.len() - 1).unwrap_or_default();
    match text {
        HEADER => Line::Header,
        NOT_AVAILABLE => Line::NotAvailable,
        LIST => Line::List,
        _ if text.contains(&b'\n') => Line::List,
        _ => std::str::from_utf8(text).map_or(Line::List, Line::Name),
    }
}

/// Appends a line with `name` in the swarm's spelling.
pub(super) fn put_prefixed(name: &str, out: &mut BytesMut) {
    put(PREFIX.as_bytes(), name.as_bytes(), out);
}

/// Appends a line with `name` as it is.
pub(super) fn put_name(name: &str, out: &mut BytesMut) {
    put(b"", name.as_bytes(), out);
}

fn put(prefix: &[u8], name: &[u8], out: &mut BytesMut) {
    let length = prefix.len() + name.len() + 1;
    let low = u8::try_from(length & 0x7f).expect("invariant: seven bits");
    match u8::try_from(length >> 7).expect("invariant: lines are shorter than 2^14 bytes") {
        0 => out.put_u8(low),
        high => out.put_slice(&[low | 0x80, high]),
    }
    out.put_slice(prefix);
    out.put_slice(name);
    out.put_u8(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_flights_are_read_line_by_line() {
        let fixture = include_str!("../../../protocol/tests/fixtures/negotiation_and_markers.json");
        assert!(fixture.contains("1544485450726f746f636f6c2e7270635f66696e640a"));
        let flight = b"\x13/multistream/1.0.0\n\x15DHTProtocol.rpc_find\npayload";
        let Front::Line(header) = front(flight) else {
            panic!("a header expected");
        };
        assert_eq!(read(&flight[..header]), Line::Header);
        let rest = &flight[header..];
        assert_eq!(front(rest), Front::Line(22));
        assert_eq!(read(&rest[..22]), Line::Name("DHTProtocol.rpc_find"));
        assert_eq!(front(b"\x03na\n"), Front::Line(4));
        assert_eq!(read(b"\x03na\n"), Line::NotAvailable);
        for cut in 0..header {
            assert_eq!(front(&flight[..cut]), Front::Incomplete);
        }
    }

    #[test]
    fn what_is_no_line_is_left_alone() {
        for bytes in [&b"\x00"[..], b"\x03abc", b"\xff\xff\x7f", b"\x80\x7f"] {
            assert_eq!(front(bytes), Front::Other, "{bytes:x?}");
        }
    }

    #[test]
    fn long_names_use_two_length_bytes() {
        let name = "n".repeat(200);
        let mut out = BytesMut::new();
        put_prefixed(&name, &mut out);
        assert_eq!(front(&out), Front::Line(out.len()));
        assert_eq!(read(&out), Line::Name(&format!("{PREFIX}{name}")));
    }
}
