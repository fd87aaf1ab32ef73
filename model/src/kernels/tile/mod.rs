//! The inner loops: one panel of weights times one tile of rows.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;

#[cfg(target_arch = "x86_64")]
pub(super) use amx::Registers;

use super::activations::Tile;
use super::format::{Format, PANEL};
use super::level::Level;

/// `sums[row][output] = sum over inputs of activation[row][input] * weight[output][input]`, in an order that level and
/// format fix: that of the inputs, but for the pairs of matrices.
///
/// - `panel`: the bytes of one panel of `format`; `sums`: one for each row of the tile
pub(super) fn multiply(
    level: Level,
    format: Format,
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]],
) {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Amx if tile.run > 1 => amx::multiply(format, panel, tile, sums),
        #[cfg(target_arch = "x86_64")]
        Level::Amx => avx512::multiply(true, format, panel, tile, sums),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => avx512::multiply(false, format, panel, tile, sums),
        #[cfg(not(target_arch = "x86_64"))]
        Level::Amx | Level::Avx512 => lanes::multiply(level, format, panel, tile, sums),
        Level::Avx2 | Level::Portable => lanes::multiply(level, format, panel, tile, sums),
    }
}
