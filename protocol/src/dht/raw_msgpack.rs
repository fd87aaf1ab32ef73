//! The few msgpack forms that the DHT itself writes, without building values first.

/// msgpack form of a text string, shortest header.
pub(crate) fn text(value: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len().saturating_add(5));
    match u8::try_from(value.len()) {
        Ok(short @ 0..=31) => out.push(0xa0 | short),
        Ok(length) => out.extend([0xd9, length]),
        Err(_) => push_length(value.len(), None, [0xda, 0xdb], &mut out),
    }
    out.extend_from_slice(value.as_bytes());
    out
}

pub(crate) fn push_f64(value: f64, out: &mut Vec<u8>) {
    out.push(0xcb);
    out.extend(value.to_be_bytes());
}

pub(crate) fn push_array_header(length: usize, out: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(short @ 0..=15) => out.push(0x90 | short),
        _ => push_length(length, None, [0xdc, 0xdd], out),
    }
}

pub(crate) fn push_binary(value: &[u8], out: &mut Vec<u8>) {
    push_length(value.len(), Some(0xc4), [0xc5, 0xc6], out);
    out.extend_from_slice(value);
}

pub(crate) fn push_extension(code: u8, body: &[u8], out: &mut Vec<u8>) {
    match body.len() {
        1 => out.push(0xd4),
        2 => out.push(0xd5),
        4 => out.push(0xd6),
        8 => out.push(0xd7),
        16 => out.push(0xd8),
        length => push_length(length, Some(0xc7), [0xc8, 0xc9], out),
    }
    out.push(code);
    out.extend_from_slice(body);
}

/// Writes the shortest of the 1-, 2- and 4-byte length headers. Lengths past u32 cannot occur: every caller is
/// bounded by the 4 MiB envelope.
fn push_length(length: usize, tag8: Option<u8>, [tag16, tag32]: [u8; 2], out: &mut Vec<u8>) {
    if let (Some(tag), Ok(length)) = (tag8, u8::try_from(length)) {
        out.extend([tag, length]);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(tag16);
        out.extend(length.to_be_bytes());
    } else {
        out.push(tag32);
        out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::{Cursor, is_one_value};

    #[test]
    fn every_prefix_of_a_value_is_incomplete() {
        let mut out = vec![0xde, 0, 2]; // map of two, with nested arrays and every length form
        out.extend(text("key"));
        push_array_header(3, &mut out);
        push_f64(2.5, &mut out);
        push_binary(&[9; 300], &mut out);
        push_extension(0x40, &[0x90], &mut out);
        out.extend(text(&"x".repeat(70_000)));
        out.extend([0xd3, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(is_one_value(&out));
        for length in (0..out.len()).filter(|length| *length < 500 || *length + 20 > out.len()) {
            assert!(!is_one_value(&out[..length]), "prefix of {length} bytes");
        }
        out.push(0xc0);
        assert!(!is_one_value(&out));
    }

    #[test]
    fn deep_and_huge_headers_cost_nothing() {
        assert!(!is_one_value(&vec![0x91; 1_000_000])); // a million open arrays
        assert!(!is_one_value(&[0xdd, 0xff, 0xff, 0xff, 0xff]));
        assert!(!is_one_value(&[0xc6, 0xff, 0xff, 0xff, 0xff]));
    }

    #[test]
    fn text_uses_the_shortest_header() {
        for (length, header) in [(0, 1), (31, 1), (32, 2), (255, 2), (256, 3), (65_536, 5)] {
            let bytes = text(&"a".repeat(length));
            assert_eq!(bytes.len(), length + header);
            assert_eq!(Cursor::new(&bytes).text().map(str::len), Some(length));
        }
    }
}
