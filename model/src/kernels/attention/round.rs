//! Rounding to the number formats of the cache, in plain code that compilers vectorise.

/// The nearest bf16, ties to even, in the low half of the answer; a NaN stays one.
#[inline(always)]
pub(super) fn bf16_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if value.is_nan() {
        (bits >> 16) | 0x40
    } else {
        rounded
    }
}

/// Two numbers as one word of bf16, the first in the low half.
#[inline(always)]
pub(super) fn bf16_pair(low: f32, high: f32) -> u32 {
    bf16_bits(low) | (bf16_bits(high) << 16)
}

/// The first number of a pair.
#[inline(always)]
pub(super) fn low_half(word: u32) -> f32 {
    f32::from_bits(word << 16)
}

/// The second number of a pair.
#[inline(always)]
pub(super) fn high_half(word: u32) -> f32 {
    f32::from_bits(word & 0xffff_0000)
}

/// Writes a row of single precision as words of the products: bits, or pairs of bf16. Words beyond the row become 0.
pub(super) fn pack_row(row: &[f32], is_paired: bool, words: &mut [u32]) {
    if is_paired {
        let (whole, rest) = row.as_chunks::<2>();
        let (pairs, padding) = words.split_at_mut(whole.len());
        for (word, [low, high]) in pairs.iter_mut().zip(whole) {
            *word = bf16_pair(*low, *high);
        }
        padding.fill(0);
        if let ([last], Some(word)) = (rest, padding.first_mut()) {
            *word = bf16_bits(*last);
        }
    } else {
        let (numbers, padding) = words.split_at_mut(row.len());
        for (word, number) in numbers.iter_mut().zip(row) {
            *word = number.to_bits();
        }
        padding.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::{bf16_bits, high_half, low_half, pack_row};

    proptest! {
        #[test]
        fn rounding_is_that_of_half(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            let expected = bf16::from_f32(value);
            let got = bf16::from_bits(bf16_bits(value) as u16);
            prop_assert!(got == expected || (got.is_nan() && expected.is_nan()));
        }
    }

    #[test]
    fn a_row_is_padded_with_zeros() {
        let mut words = [u32::MAX; 4];
        pack_row(&[1.0, -2.0, 3.0], true, &mut words);
        assert_eq!((low_half(words[0]), high_half(words[0])), (1.0, -2.0));
        assert_eq!((low_half(words[1]), high_half(words[1])), (3.0, 0.0));
        assert_eq!(words[2..], [0, 0]);
        let mut words = [u32::MAX; 4];
        pack_row(&[1.0, -2.0, 3.0], false, &mut words);
        assert_eq!(words.map(f32::from_bits), [1.0, -2.0, 3.0, 0.0]);
    }
}
