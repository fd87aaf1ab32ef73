//! How packed weights lie in memory.
//!
//! A matrix `[outputs, inputs]` is cut into panels of [`PANEL`] outputs. Within a panel the inputs follow each other,
//! and for each input (or pair, or block of inputs) the weights of all the panel's outputs lie side by side: outputs
//! go across vector lanes, so there are no horizontal sums, and a panel is one sequential read.
//!
//! | format | inputs per group | bytes of a group, for 32 outputs                       | bytes a weight |
//! |--------|-----------------:|--------------------------------------------------------|---------------:|
//! | `F32`  |  1 | 32 x f32                                                             | 4      |
//! | `F16`  |  1 | 32 x f16                                                             | 2      |
//! | `Bf16` |  2 | 32 x (2 x bf16)                                                      | 2      |
//! | `Int8` | 32 | 32 x f16 scale, then for each 4 inputs 32 x (4 x u8), weight + 128   | 1.0625 |
//! | `Int4` | 32 | 32 x f16 scale, then for each 8 inputs 32 x (4 x u8): the low halves are the first 4 inputs + 8, the high halves the other 4 | 0.5625 |
//! | `Int4Min` | 32 | 32 x f16 scale, 32 x f16 minimum, then as `Int4`, but nothing is added to the inputs | 0.625 |
//! | `Int6` | 32 | 32 x f16 scale of the first 16 inputs, 32 x f16 scale of the others, 32 x f16 minimum, then for each 16 inputs 3 lines of 32 x (4 x u8): their low six bits are the first 3 x 4 inputs + 32, their high two bits the last 4 inputs + 32, highest bits in the first line | 0.9375 |
//! | `Nf4`  | 64 | 32 x f16 scale, then for each 8 inputs 32 x (2 x u16): half `h` of both is the pair of inputs `2h`, `2h + 1` | 0.53125 |
//!
//! Inputs are padded with zero weights to a multiple of [`INPUT_PADDING`], outputs to whole panels.

/// Outputs of a panel: two 512-bit vectors of f32.
pub(crate) const PANEL: usize = 32;

/// Inputs are padded to a multiple of this: the largest group of any format.
pub(crate) const INPUT_PADDING: usize = 64;

/// Inputs that share a scale in `Int8`, `Int4` and `Int4Min`, as in GGUF's Q8_0, Q4_0 and Q4_K, and a minimum in
/// `Int4Min` and `Int6`.
pub(crate) const INT_BLOCK: usize = 32;

/// Inputs that share a scale in `Int6`, as in GGUF's Q6_K.
pub(crate) const INT6_BLOCK: usize = 16;

/// Inputs that share a scale in `Nf4`, as in bitsandbytes.
pub(crate) const NF4_BLOCK: usize = 64;

/// Bytes of one block's scales, or minimums.
pub(crate) const SCALE_BYTES: usize = PANEL * 2;

/// A format of packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// Single precision, multiplied by single precision.
    F32,
    /// Half precision, multiplied by single precision.
    F16,
    /// bf16, multiplied by activations rounded to bf16.
    Bf16,
    /// bf16, multiplied by activations in single precision; the same bytes as `Bf16`.
    Bf16Exact,
    /// 8-bit integers, a scale for 32 inputs; multiplied by activations quantized in the same way.
    Int8,
    /// 4-bit integers, a scale for 32 inputs; multiplied by activations quantized to 8 bits.
    Int4,
    /// 4-bit integers without sign, a scale and a minimum for 32 inputs; multiplied as `Int4`.
    Int4Min,
    /// 6-bit integers, a scale for 16 inputs and a minimum for 32; multiplied as `Int4`.
    Int6,
    /// 4-bit indices into the NF4 table, a scale for 64 inputs; multiplied by activations rounded to bf16.
    Nf4,
}

impl Format {
    /// Bytes of a panel for so many (padded) inputs.
    pub(crate) const fn panel_bytes(self, inputs: usize) -> usize {
        match self {
            Self::F32 => inputs * PANEL * 4,
            Self::F16 | Self::Bf16 | Self::Bf16Exact => inputs * PANEL * 2,
            Self::Int8 => inputs / INT_BLOCK * (SCALE_BYTES + INT_BLOCK * PANEL),
            Self::Int4 => inputs / INT_BLOCK * (SCALE_BYTES + INT_BLOCK * PANEL / 2),
            Self::Int4Min => inputs / INT_BLOCK * (2 * SCALE_BYTES + INT_BLOCK * PANEL / 2),
            Self::Int6 => inputs / INT_BLOCK * (3 * SCALE_BYTES + INT_BLOCK * PANEL * 3 / 4),
            Self::Nf4 => inputs / NF4_BLOCK * (SCALE_BYTES + NF4_BLOCK * PANEL / 2),
        }
    }

    /// Every format, for tests.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 9] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Bf16Exact,
        Self::Int8,
        Self::Int4,
        Self::Int4Min,
        Self::Int6,
        Self::Nf4,
    ];
}
