//! Products in matrix registers.
//!
//! | register | holds                                                     | rows       |
//! |----------|-----------------------------------------------------------|------------|
//! | 0, 1     | sums of the first rows, outputs 0 to 15 and 16 to 31       | first rows |
//! | 2, 3     | the same of the other rows, if there are more than 16      | other rows |
//! | 4, 5     | words of the first and of the other rows                   | as 0 and 2 |
//! | 6, 7     | weights of outputs 0 to 15 and 16 to 31: a line for each word | `run`   |

use std::arch::asm;

use super::super::avx512::{FAR_BYTES, NEAR_BYTES};
use super::{PANEL, Tile};
use crate::kernels::activations::{MATRIX_ROWS, PAIR_RUN};

/// Bytes of a line of weights: a word for each output.
pub(super) const LINE_BYTES: usize = PANEL * 4;

/// What the matrix registers hold, as `ldtilecfg` reads it.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// One panel's matrix registers, in use until it is dropped.
pub(in crate::kernels) struct Registers {
    /// Rows of the tile, in both halves.
    rows: usize,
    /// Rows of registers 0, 1 and 4.
    first: usize,
    /// Words of a row that are multiplied at once.
    run: usize,
}

impl Registers {
    /// Gives the registers their shapes.
    ///
    /// - `rows`: up to twice [`MATRIX_ROWS`]; `run`: up to 16 words
    #[target_feature(enable = "avx512f")]
    #[allow(unsafe_code, reason = "instructions that the compiler does not know")]
    pub(in crate::kernels) fn new(rows: usize, run: usize) -> Self {
        assert!(0 < rows && rows <= 2 * MATRIX_ROWS && 0 < run && run <= PAIR_RUN);
        let first = if rows > MATRIX_ROWS {
            rows.div_ceil(2)
        } else {
            rows
        };
        let mut shapes = Shapes {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        let mut shape = |register: usize, rows: usize, words: usize| {
            if rows > 0 {
                shapes.rows[register] = rows as u8;
                shapes.row_bytes[register] = words as u16 * 4;
            }
        };
        for half in 0..2 {
            shape(half, first, PANEL / 2);
            shape(2 + half, rows - first, PANEL / 2);
            shape(6 + half, run, PANEL / 2);
        }
        shape(4, first, run);
        shape(5, rows - first, run);
        // SAFETY: `shapes` is 64 bytes and within what palette 1 allows: 16 rows of 64 bytes each. The caller's level has
        // AMX, and the system's permission.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack)) };
        Self { rows, first, run }
    }
}

impl Drop for Registers {
    #[allow(unsafe_code, reason = "instructions that the compiler does not know")]
    fn drop(&mut self) {
        // SAFETY: there are registers to release since `Registers::new`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Defines a method that multiplies `steps` runs of words with their lines of weights and writes the sums.
macro_rules! products {
    ($(#[$doc:meta])* $name:ident, $multiply:literal, $few:expr, $many:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `words` must have `steps * rows * run` values, `weights` `steps * run` lines, `sums` `rows` lines; all lines
        /// are of [`LINE_BYTES`].
        #[inline]
        #[target_feature(enable = "avx512f")]
        #[allow(unsafe_code, reason = "instructions that the compiler does not know")]
        pub(super) unsafe fn $name(
            &self,
            words: *const u32,
            weights: *const u8,
            steps: usize,
            sums: *mut u8,
        ) {
            let row_bytes = self.run * 4;
            let others = self.rows - self.first;
            let (other_words, other_sums) = (
                words.wrapping_add(self.first * self.run),
                sums.wrapping_add(self.first * LINE_BYTES),
            );
            // SAFETY: each load and store is of a register's rows, which the caller says are there.
            unsafe {
                if others == 0 {
                    asm!(
                        "tilezero tmm0",
                        "tilezero tmm1",
                        "2:",
                        $few,
                        "tileloadd tmm4, [{words} + {row_bytes}]",
                        "tileloadd tmm6, [{weights} + {line}]",
                        concat!($multiply, " tmm0, tmm4, tmm6"),
                        "tileloadd tmm7, [{weights} + {line} + 64]",
                        concat!($multiply, " tmm1, tmm4, tmm7"),
                        "add {words}, {words_step}",
                        "add {weights}, {weights_step}",
                        "dec {steps}",
                        "jnz 2b",
                        "tilestored [{sums} + {line}], tmm0",
                        "tilestored [{sums} + {line} + 64], tmm1",
                        words = inout(reg) words => _,
                        weights = inout(reg) weights => _,
                        steps = inout(reg) steps => _,
                        sums = in(reg) sums,
                        row_bytes = in(reg) row_bytes,
                        line = in(reg) LINE_BYTES,
                        words_step = in(reg) self.rows * row_bytes,
                        weights_step = in(reg) self.run * LINE_BYTES,
                        far = const FAR_BYTES,
                        near = const NEAR_BYTES,
                        out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    );
                } else {
                    asm!(
                        "tilezero tmm0",
                        "tilezero tmm1",
                        "tilezero tmm2",
                        "tilezero tmm3",
                        "2:",
                        $many,
                        "tileloadd tmm4, [{words} + {row_bytes}]",
                        "tileloadd tmm6, [{weights} + {line}]",
                        concat!($multiply, " tmm0, tmm4, tmm6"),
                        "tileloadd tmm5, [{other_words} + {row_bytes}]",
                        concat!($multiply, " tmm2, tmm5, tmm6"),
                        "tileloadd tmm7, [{weights} + {line} + 64]",
                        concat!($multiply, " tmm1, tmm4, tmm7"),
                        concat!($multiply, " tmm3, tmm5, tmm7"),
                        "add {words}, {words_step}",
                        "add {other_words}, {words_step}",
                        "add {weights}, {weights_step}",
                        "dec {steps}",
                        "jnz 2b",
                        "tilestored [{sums} + {line}], tmm0",
                        "tilestored [{sums} + {line} + 64], tmm1",
                        "tilestored [{other_sums} + {line}], tmm2",
                        "tilestored [{other_sums} + {line} + 64], tmm3",
                        words = inout(reg) words => _,
                        other_words = inout(reg) other_words => _,
                        weights = inout(reg) weights => _,
                        steps = inout(reg) steps => _,
                        sums = in(reg) sums,
                        other_sums = in(reg) other_sums,
                        row_bytes = in(reg) row_bytes,
                        line = in(reg) LINE_BYTES,
                        words_step = in(reg) self.rows * row_bytes,
                        weights_step = in(reg) self.run * LINE_BYTES,
                        far = const FAR_BYTES,
                        near = const NEAR_BYTES,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    );
                }
            }
        }
    };
}

/// The places of the lines of a step of pairs.
macro_rules! lines {
    ($fetch:literal) => {
        concat!(
            ".irp place,0,64,128,192,256,320,384,448,512,576,640,704,768,832,896,960,\
             1024,1088,1152,1216,1280,1344,1408,1472,1536,1600,1664,1728,1792,1856,1920,1984\n",
            $fetch,
            "\n.endr"
        )
    };
}

impl Registers {
    products! {
        /// Products of pairs of bf16 with weights from memory, which are fetched ahead.
        streamed_pairs, "tdpbf16ps",
        lines!("prefetcht1 [{weights} + {far} + \\place]\nprefetcht0 [{weights} + {near} + \\place]"),
        lines!("prefetcht0 [{weights} + {far} + \\place]\n/* {near} */")
    }
    products! {
        /// Products of pairs of bf16 with weights that were just made.
        pairs, "tdpbf16ps", "/* {far} {near} */", "/* {far} {near} */"
    }
    products! {
        /// Products of signed words with unsigned weights.
        quads, "tdpbsud", "/* {far} {near} */", "/* {far} {near} */"
    }
}

/// A panel of bf16.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
pub(super) fn whole_panel(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]]) {
    let steps = panel.len() / (PAIR_RUN * LINE_BYTES);
    assert!(panel.len() == steps * PAIR_RUN * LINE_BYTES);
    assert!(tile.run == PAIR_RUN && tile.words.len() == steps * PAIR_RUN * sums.len());
    if steps == 0 {
        sums.fill([0.0; PANEL]);
        return;
    }
    let registers = Registers::new(sums.len(), PAIR_RUN);
    // SAFETY: words, weights and sums are as many as was just checked.
    unsafe {
        let sums = sums.as_mut_ptr().cast();
        registers.streamed_pairs(tile.words.as_ptr(), panel.as_ptr(), steps, sums);
    }
}
