//! Unsigned LEB128, as protobuf and multistream use it: seven bits a byte, low bits first.

use crate::error::DecodeError;

/// Bytes of the longest 64-bit value.
pub(crate) const MAX_VARINT_BYTES: usize = 10;

/// Reads the number at the front of `bytes`: `(value, its length in bytes)`, or `None` while
/// its last byte is missing. Padded forms are accepted, as in protobuf.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(u64, usize)>, DecodeError> {
    let mut value = 0_u64;
    for (position, byte) in bytes.iter().enumerate().take(MAX_VARINT_BYTES) {
        let bits = u64::from(byte & 0x7f);
        let shift = u32::try_from(position)
            .unwrap_or(u32::MAX)
            .saturating_mul(7);
        // Only the lowest bit of the tenth byte still fits.
        if shift >= 63 && bits > 1 {
            return Err(DecodeError::malformed("varint", "more than 64 bits"));
        }
        value |= bits.checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(Some((value, position.saturating_add(1))));
        }
    }
    if bytes.len() >= MAX_VARINT_BYTES {
        return Err(DecodeError::malformed("varint", "longer than 10 bytes"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(read(&[0x00]), Ok(Some((0, 1))));
        assert_eq!(read(&[0x82, 0x01, 0xff]), Ok(Some((130, 2))));
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[0x80; 9]), Ok(None));
        assert!(read(&[0x80; 10]).is_err());
        assert!(read(&[0xff; 11]).is_err());
        let mut too_wide = [0x80; 10];
        too_wide[9] = 0x02;
        assert!(read(&too_wide).is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_prost(value: u64) {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(value, &mut bytes);
            prop_assert_eq!(read(&bytes), Ok(Some((value, bytes.len()))));
            for end in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..end]), Ok(None));
            }
        }
    }
}
