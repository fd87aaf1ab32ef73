//! Identifiers of the DHT: 160 bits, shared by nodes and keys, compared by XOR.
//!
//! | what    | identifier                                          |
//! |---------|-----------------------------------------------------|
//! | node    | random, new on every start, unrelated to the peer id |
//! | key     | SHA-1 of the msgpack form of the key                 |
//! | raw key | SHA-1 of the bytes themselves (byte-string keys)     |
//!
//! Twenty bytes big-endian on the wire. Source: hivemind 1.1.12, `dht/routing.py`; golden: `python_serialization.json`.

use std::fmt;

use sha1::{Digest, Sha1};

use super::raw_msgpack;

/// Number of bytes of an identifier.
pub const DHT_ID_BYTES: usize = 20;

/// Identifier of a node or of a key; ordered as a 160-bit big-endian integer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DhtId([u8; DHT_ID_BYTES]);

/// XOR of two identifiers; the smaller, the nearer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance([u8; DHT_ID_BYTES]);

impl DhtId {
    /// The identifier with these 20 bytes, big-endian.
    pub const fn from_bytes(bytes: [u8; DHT_ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// The identifier with these bytes, or `None` unless there are exactly 20 of them.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Hash of a text key such as `"prefix.3"` or `"_petals.models"`.
    pub fn of_text(key: &str) -> Self {
        Self::of_raw(&raw_msgpack::text(key))
    }

    /// Hash of a key that is already in its msgpack form.
    pub fn of_msgpack(key: &[u8]) -> Self {
        Self::of_raw(key)
    }

    /// Hash of a byte-string key, which hivemind does not serialize first.
    pub fn of_raw(key: &[u8]) -> Self {
        Self(Sha1::digest(key).into())
    }

    /// How far two identifiers are apart.
    pub fn distance(&self, other: &Self) -> Distance {
        let mut xor = [0; DHT_ID_BYTES];
        for ((out, a), b) in xor.iter_mut().zip(self.0).zip(other.0) {
            *out = a ^ b;
        }
        Distance(xor)
    }

    /// The 20 bytes, big-endian.
    pub fn as_bytes(&self) -> &[u8; DHT_ID_BYTES] {
        &self.0
    }

    /// This identifier with bit number `index`, counted from the most significant one, set.
    pub(crate) fn with_bit(mut self, index: usize) -> Self {
        let mask = bit_mask(index);
        if let Some(byte) = self.0.get_mut(index.div_euclid(8)) {
            *byte |= mask;
        }
        self
    }

    /// True if the first `bits` bits of both are equal.
    pub(crate) fn shares_prefix(&self, other: &Self, bits: usize) -> bool {
        self.distance(other).leading_zeros() >= bits
    }

    /// The first `bits` bits of this identifier followed by the rest of `tail`.
    pub(crate) fn with_tail(self, bits: usize, tail: &Self) -> Self {
        let mut out = self.0;
        for (index, (byte, random)) in out.iter_mut().zip(tail.0).enumerate() {
            let kept_bits = bits.saturating_sub(index.saturating_mul(8)).min(8);
            let keep = u8::MAX
                .checked_shr(u32::try_from(kept_bits).unwrap_or(8))
                .map_or(u8::MAX, |low| !low);
            *byte = (*byte & keep) | (random & !keep);
        }
        Self(out)
    }
}

impl Distance {
    /// Number of leading zero bits: 160 for equal identifiers.
    pub fn leading_zeros(&self) -> usize {
        let mut zeros: usize = 0;
        for byte in self.0 {
            zeros = zeros.saturating_add(byte.leading_zeros() as usize);
            if byte != 0 {
                break;
            }
        }
        zeros
    }
}

impl fmt::Display for DhtId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DhtId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&DhtId(self.0), f)
    }
}

fn bit_mask(index: usize) -> u8 {
    0x80_u8.wrapping_shr(u32::try_from(index.rem_euclid(8)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_the_reference_does() {
        assert_eq!(
            DhtId::of_text("tiny-llama-hf.0").to_string(),
            "084f787cbb843355269cdfb823fddf547eee7f38"
        );
        assert_eq!(
            DhtId::of_text("_petals.models").to_string(),
            "0a63ed21831f3f7d24f07949cea69a94476b4faf"
        );
        assert_eq!(
            DhtId::of_raw(b"raw").to_string(),
            "ce15802a8c5e8e9db0ffaf10130ef265296e9ea4"
        );
        let tuple = [0xd6, 0x40, 0x92, 0xa1, 0x61, 0x01]; // ("a", 1)
        assert_eq!(
            DhtId::of_msgpack(&tuple).to_string(),
            "edd01de4b5be93353047fae489cc36b2e8f20fb1"
        );
    }

    #[test]
    fn only_twenty_bytes_make_an_identifier() {
        for length in [0, 1, 19, 21, 34, 38] {
            assert_eq!(DhtId::from_slice(&vec![7; length]), None);
        }
        assert!(DhtId::from_slice(&[7; 20]).is_some());
    }

    #[test]
    fn bits_and_prefixes_count_from_the_most_significant_end() {
        let zero = DhtId::from_bytes([0; 20]);
        for index in [0, 1, 7, 8, 63, 159] {
            let one = zero.with_bit(index);
            assert_eq!(zero.distance(&one).leading_zeros(), index);
            assert!(one.shares_prefix(&zero, index) && !one.shares_prefix(&zero, index + 1));
        }
        assert_eq!(zero.distance(&zero).leading_zeros(), 160);
        assert_eq!(zero.with_bit(160), zero);
    }

    #[test]
    fn a_tail_keeps_exactly_the_prefix() {
        let ones = DhtId::from_bytes([0xff; 20]);
        let zero = DhtId::from_bytes([0; 20]);
        for bits in [0, 1, 5, 8, 9, 80, 159, 160] {
            let mixed = ones.with_tail(bits, &zero);
            assert_eq!(mixed.distance(&ones).leading_zeros(), bits);
        }
    }
}
