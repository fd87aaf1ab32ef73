//! Names of blocks: one uid, a chain of them, and the span that a chain covers.
//!
//! | form  | text                          | meaning                                     |
//! |-------|-------------------------------|---------------------------------------------|
//! | uid   | `prefix.7`                    | block 7 of the model announced as `prefix`  |
//! | chain | `prefix.7 prefix.8 prefix.9`  | blocks 7 to 9 in order, one space between   |
//!
//! The prefix has no `.` and no space; the number is canonical decimal. Petals would run any
//! list of blocks that it serves; its clients only send consecutive ones, and so do we accept.

use std::{fmt, ops::Range};

use crate::{
    error::DecodeError,
    limits::{MAX_BLOCK_INDEX, MAX_BLOCKS_IN_CHAIN, MAX_CHAIN_BYTES, MAX_UID_BYTES},
};

const UID_SEPARATOR: char = '.';
const CHAIN_SEPARATOR: char = ' ';

/// A half-open run of blocks `[start, end)`, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// The blocks `[start, end)`.
    ///
    /// # Errors
    /// `Malformed` if there are none, `LimitExceeded` if one is over [`MAX_BLOCK_INDEX`].
    pub fn new(start: usize, end: usize) -> Result<Self, DecodeError> {
        if start >= end {
            return Err(DecodeError::malformed("span", "no blocks"));
        }
        DecodeError::check_len("end of span", end, MAX_BLOCK_INDEX.saturating_add(1))?;
        Ok(Self { start, end })
    }

    /// The first block.
    #[must_use]
    pub const fn start(self) -> usize {
        self.start
    }

    /// One after the last block.
    #[must_use]
    pub const fn end(self) -> usize {
        self.end
    }

    /// The number of blocks, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a span is never empty")]
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// The block numbers.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// Whether `inner` lies wholly within this span.
    #[must_use]
    pub const fn contains(self, inner: Self) -> bool {
        self.start <= inner.start && inner.end <= self.end
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.start, self.end)
    }
}

/// One block of one model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlockUid {
    /// The model's prefix in the swarm, valid by [`validate_prefix`].
    pub prefix: String,
    /// The block's number, from 0.
    pub index: usize,
}

impl BlockUid {
    /// Reads `prefix.index`.
    ///
    /// # Errors
    /// `LimitExceeded` or `Malformed`; see the table above.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        let (prefix, index) = split_uid(text)?;
        Ok(Self {
            prefix: prefix.to_owned(),
            index,
        })
    }
}

impl fmt::Display for BlockUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{UID_SEPARATOR}{}", self.prefix, self.index)
    }
}

/// Consecutive blocks of one model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlockChain {
    /// The model's prefix in the swarm, valid by [`validate_prefix`].
    pub prefix: String,
    /// The blocks.
    pub span: Span,
}

impl BlockChain {
    /// Reads `prefix.3 prefix.4 …`.
    ///
    /// # Errors
    /// `LimitExceeded`, or `Malformed` for an empty chain, a bad uid, two prefixes or a gap.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        DecodeError::check_len("chain bytes", text.len(), MAX_CHAIN_BYTES)?;
        let mut uids = text.split(CHAIN_SEPARATOR);
        let (prefix, start) = split_uid(uids.next().unwrap_or_default())?;
        let mut end = start.saturating_add(1);
        for uid in uids {
            let (other_prefix, index) = split_uid(uid)?;
            if other_prefix != prefix {
                return Err(DecodeError::malformed("chain", "more than one prefix"));
            }
            if index != end {
                return Err(DecodeError::malformed(
                    "chain",
                    "blocks are not consecutive",
                ));
            }
            end = end.saturating_add(1);
            let blocks = end.saturating_sub(start);
            DecodeError::check_len("blocks in a chain", blocks, MAX_BLOCKS_IN_CHAIN)?;
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            span: Span::new(start, end)?,
        })
    }
}

impl fmt::Display for BlockChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for index in self.span.range() {
            if index > self.span.start() {
                write!(f, "{CHAIN_SEPARATOR}")?;
            }
            write!(f, "{}{UID_SEPARATOR}{index}", self.prefix)?;
        }
        Ok(())
    }
}

/// Checks that `prefix` can stand before a block number.
///
/// # Errors
/// `Malformed` if it is empty or has a `.`, white space or control character; `LimitExceeded`
/// if no number fits after it within [`MAX_UID_BYTES`].
pub fn validate_prefix(prefix: &str) -> Result<(), DecodeError> {
    // ".65535" must still fit.
    let limit = MAX_UID_BYTES.saturating_sub(6);
    DecodeError::check_len("prefix bytes", prefix.len(), limit)?;
    if prefix.is_empty() {
        return Err(DecodeError::malformed("prefix", "empty"));
    }
    let forbidden = |c: char| c == UID_SEPARATOR || c.is_whitespace() || c.is_control();
    if prefix.contains(forbidden) {
        return Err(DecodeError::malformed(
            "prefix",
            "contains '.' or white space",
        ));
    }
    Ok(())
}

fn split_uid(text: &str) -> Result<(&str, usize), DecodeError> {
    DecodeError::check_len("uid bytes", text.len(), MAX_UID_BYTES)?;
    let (prefix, digits) = text
        .rsplit_once(UID_SEPARATOR)
        .ok_or_else(|| DecodeError::malformed("uid", "no '.' before a block number"))?;
    validate_prefix(prefix)?;
    let canonical = digits.bytes().all(|digit| digit.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    let index = digits
        .parse::<usize>()
        .ok()
        .filter(|_| canonical)
        .ok_or_else(|| DecodeError::malformed("uid", "the block number is not a number"))?;
    DecodeError::check_len("block number", index, MAX_BLOCK_INDEX)?;
    Ok((prefix, index))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn uids_of_the_reference_are_read() {
        let uid = BlockUid::parse("tiny-llama-hf.3").unwrap();
        assert_eq!((uid.prefix.as_str(), uid.index), ("tiny-llama-hf", 3));
        assert_eq!(
            BlockUid::parse("org/Mixtral-8x7B.0").unwrap().prefix,
            "org/Mixtral-8x7B"
        );
    }

    #[test]
    fn bad_uids_are_refused() {
        for text in [
            "",
            ".",
            ".3",
            "m",
            "m.",
            "m.x",
            "m.-1",
            "m.+1",
            "m.03",
            "m.1.2",
            "m m.1",
            "m.65536",
            "m.99999999999999999999999",
            "m.1 ",
            " m.1",
            "m.1\n",
            "m\u{a0}.1",
            "m.١",
        ] {
            assert!(BlockUid::parse(text).is_err(), "{text:?}");
            assert!(BlockChain::parse(text).is_err(), "{text:?}");
        }
        assert!(BlockUid::parse(&format!("{}.1", "m".repeat(MAX_UID_BYTES))).is_err());
    }

    #[test]
    fn bad_chains_are_refused() {
        for text in [
            "m.1 m.3", "m.2 m.1", "m.1 m.1", "m.1 n.2", "m.1  m.2", "m.1 m.2 ",
        ] {
            assert!(BlockChain::parse(text).is_err(), "{text:?}");
        }
        let long = |blocks| BlockChain {
            prefix: "m".to_owned(),
            span: Span::new(0, blocks).unwrap(),
        };
        assert!(BlockChain::parse(&long(MAX_BLOCKS_IN_CHAIN).to_string()).is_ok());
        assert!(BlockChain::parse(&long(MAX_BLOCKS_IN_CHAIN + 1).to_string()).is_err());
        assert!(Span::new(3, 3).is_err() && Span::new(4, 3).is_err());
        assert!(Span::new(0, MAX_BLOCK_INDEX + 2).is_err());
    }

    #[test]
    fn spans_know_what_they_contain() {
        let span = Span::new(2, 6).unwrap();
        assert_eq!(
            (span.len(), span.range(), span.to_string()),
            (4, 2..6, "2:6".to_owned())
        );
        assert!(span.contains(span) && span.contains(Span::new(3, 4).unwrap()));
        assert!(!span.contains(Span::new(1, 3).unwrap()));
        assert!(!span.contains(Span::new(5, 7).unwrap()));
    }

    proptest! {
        #[test]
        fn chains_round_trip(prefix in "[a-zA-Z0-9/_-]{1,60}", start in 0_usize..1000, len in 1_usize..60) {
            let chain = BlockChain { prefix, span: Span::new(start, start + len).unwrap() };
            prop_assert_eq!(BlockChain::parse(&chain.to_string()), Ok(chain));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,60}") {
            if let Ok(chain) = BlockChain::parse(&text) {
                prop_assert_eq!(chain.to_string(), text);
            }
        }
    }
}
