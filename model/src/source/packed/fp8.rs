//! 8-bit floats of 4 exponent and 3 mantissa bits, with a scale.

use memmap2::Mmap;

/// A mapped matrix of 8-bit floats.
#[derive(Debug)]
pub(crate) struct Fp8Rows {
    /// `[rows, inputs]`
    bytes: Mmap,
    scales: Scales,
}

/// What weights are multiplied by.
#[derive(Debug)]
pub(crate) enum Scales {
    /// All by the same.
    One(f32),
    /// Each row by its own.
    Rows(Vec<f32>),
    /// Each tile of some rows and columns by its own, `[row tiles, column tiles]`.
    Tiles {
        tile: [usize; 2],
        row_tiles: usize,
        scales: Vec<f32>,
    },
}

impl Scales {
    /// Tells by the shape what scales are for; `None` if they fit no matrix of `rows` times `inputs`.
    pub(crate) fn new(
        [rows, inputs]: [usize; 2],
        tile: [usize; 2],
        shape: &[usize],
        scales: Vec<f32>,
    ) -> Option<Self> {
        let tiles = [rows.div_ceil(tile[0]), inputs.div_ceil(tile[1])];
        if shape == tiles {
            return Some(Self::Tiles {
                tile,
                row_tiles: tiles[1],
                scales,
            });
        }
        match (&scales[..], shape) {
            ([scale], _) => Some(Self::One(*scale)),
            (_, [count] | [count, 1]) if *count == rows => Some(Self::Rows(scales)),
            _ => None,
        }
    }
}

impl Fp8Rows {
    /// - `bytes`: `[rows, inputs]`; `scales`: of that matrix
    pub(crate) fn new(bytes: Mmap, scales: Scales) -> Self {
        Self { bytes, scales }
    }

    /// Reads row `row`, which has as many values as `values`.
    pub(crate) fn read(&self, row: usize, values: &mut [f32]) {
        let bytes = &self.bytes[row * values.len()..][..values.len()];
        for (value, byte) in values.iter_mut().zip(bytes) {
            *value = VALUES[usize::from(*byte)];
        }
        let scale_by = |values: &mut [f32], scale: f32| {
            values.iter_mut().for_each(|value| *value *= scale);
        };
        match &self.scales {
            Scales::One(scale) => scale_by(values, *scale),
            Scales::Rows(scales) => scale_by(values, scales[row]),
            Scales::Tiles {
                tile,
                row_tiles,
                scales,
            } => {
                let scales = &scales[row / tile[0] * row_tiles..];
                let tiles = values.chunks_mut(tile[1]).zip(scales);
                tiles.for_each(|(values, scale)| scale_by(values, *scale));
            }
        }
    }
}

/// The value of each byte: sign, 4 bits of exponent with a bias of 7, 3 of mantissa; no infinity.
///
/// Source: Micikevicius et al., "FP8 Formats for Deep Learning" (2022), E4M3.
const VALUES: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (sign, exponent, mantissa) = (byte as u32 >> 7, byte as u32 >> 3 & 15, byte as u32 & 7);
        let size = if exponent == 0 {
            mantissa as f32 / 512.0
        } else if byte & 127 == 127 {
            f32::NAN
        } else {
            f32::from_bits((exponent + 120) << 23 | mantissa << 20)
        };
        values[byte] = if sign == 1 { -size } else { size };
        byte += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::{Scales, VALUES};

    #[test]
    fn every_byte_has_its_value() {
        for (byte, value) in [
            (0x00, 0.0),
            (0x01, 1.0 / 512.0),
            (0x07, 7.0 / 512.0),
            (0x08, 1.0 / 64.0),
            (0x38, 1.0),
            (0x39, 1.125),
            (0xb8, -1.0),
            (0x7e, 448.0),
            (0xfe, -448.0),
        ] {
            assert_eq!(VALUES[byte], value, "{byte:#x}");
        }
        assert!(VALUES[0x7f].is_nan() && VALUES[0xff].is_nan());
        assert!(VALUES[..0x7f].is_sorted());
    }

    #[test]
    fn scales_are_told_apart_by_their_shape() {
        let scales = |shape: &[usize]| {
            let count = shape.iter().product();
            Scales::new([6, 300], [4, 128], shape, vec![1.0; count])
        };
        assert!(matches!(scales(&[]), Some(Scales::One(_))));
        assert!(matches!(scales(&[1]), Some(Scales::One(_))));
        assert!(matches!(scales(&[6]), Some(Scales::Rows(_))));
        assert!(matches!(scales(&[6, 1]), Some(Scales::Rows(_))));
        assert!(matches!(
            scales(&[2, 3]),
            Some(Scales::Tiles { row_tiles: 3, .. })
        ));
        assert!(scales(&[3, 2]).is_none() && scales(&[7]).is_none());
    }
}
