//! Rows of single precision as the words that attention multiplies.

use crate::kernels::rounding::{bf16_bits, bf16_pair};

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
    use super::pack_row;
    use crate::kernels::rounding::{high_half, low_half};

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
