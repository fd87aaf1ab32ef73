//! Inner loops for AMX: 16 rows times 16 outputs in one instruction.
//!
//! A panel's lines are rows of a matrix register as they lie, two registers side by side; see `products`. A product of
//! bf16 sums the even and the odd inputs of each 32 on their own, then adds both: no other level rounds like that, so
//! formats of floats use matrices for any number of rows. Sums of integers are exact, so those are free to choose.

mod integers;
mod nf4;
mod products;

pub(in crate::kernels) use products::Registers;

use super::Tile;
use crate::kernels::format::{Format, PANEL};

/// See [`super::multiply`].
#[allow(
    unsafe_code,
    reason = "compiled for features that were found at run time"
)]
pub(super) fn multiply(format: Format, panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]]) {
    // SAFETY: this level is only used on processors that have its features, in processes that may use them.
    unsafe {
        match format {
            Format::Bf16 => products::whole_panel(panel, tile, sums),
            Format::Nf4 => nf4::nf4(panel, tile, sums),
            Format::Int8 => integers::int8(panel, tile, sums),
            Format::Int4 => integers::int4(panel, tile, sums),
            Format::Int4Min => integers::int4_min(panel, tile, sums),
            Format::F32 | Format::F16 | Format::Bf16Exact | Format::Int6 => {
                unreachable!("invariant: vectors multiply these")
            }
        }
    }
}
