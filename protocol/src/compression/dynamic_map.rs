//! The 256 values of BLOCKWISE_8BIT in [-1, 1], and which of them is nearest to a float.
//!
//! Seven decades, 10⁻⁶ to 1; decade e cuts [0.1, 1] into 2^e intervals and takes their midpoints
//! times 10^(e−6), in both signs; then 0 and 1. The lowest value is sent as −1, as bitsandbytes does.
//!
//! Source: Dettmers et al., "8-bit Optimizers via Block-wise Quantization"; bitsandbytes 0.45.5,
//! `create_dynamic_map`. Golden: `bnb_dynamic_map_256.json`.

use std::sync::LazyLock;

use super::codebook::ENTRIES;
use super::statistics;

/// The map, computed once.
pub(super) static DYNAMIC_MAP: LazyLock<DynamicMap> = LazyLock::new(DynamicMap::new);

/// Floats of one sign fall into cells by exponent and top six bits of mantissa: fine enough
/// that no cell contains two borders.
const CELL_SHIFT: u32 = 17;

/// Cell number of 2⁻²², below the smallest border; smaller magnitudes share the first cell.
const FIRST_CELL: u32 = 105 << 6;

/// Cells per sign, a power of two; magnitudes from 2¹⁰ share the last one.
const CELLS: usize = 2048;

/// Sign-less part of a float's bits.
const MAGNITUDE: u32 = 0x7fff_ffff;

/// The code with a table that finds the nearest entry in two look-ups.
#[derive(Debug)]
pub(super) struct DynamicMap {
    /// The values, ascending.
    pub(super) code: [f32; ENTRIES],
    /// `borders[i]`: the largest float at least as near to `code[i]` as to `code[i + 1]`.
    borders: [f32; ENTRIES],
    /// Nearest entry of the lowest float in each cell; negative floats in the second half.
    lowest: [u8; CELLS * 2],
}

impl DynamicMap {
    fn new() -> Self {
        let code = code();
        let mut borders = [f32::INFINITY; ENTRIES];
        for ((border, &left), &right) in borders.iter_mut().zip(&code).zip(code.iter().skip(1)) {
            *border = floor_to_f32((f64::from(left) + f64::from(right)) / 2.0);
        }
        let mut map = Self {
            code,
            borders,
            lowest: [0; CELLS * 2],
        };
        for cell in 0..CELLS {
            let number = u32::try_from(cell)
                .unwrap_or(u32::MAX)
                .saturating_add(FIRST_CELL);
            let start = f32::from_bits(number << CELL_SHIFT);
            let end = f32::from_bits((number.saturating_add(1) << CELL_SHIFT).saturating_sub(1));
            let (positive, negative) = match cell {
                0 => (0.0, -end),
                _ => (start, -end),
            };
            let (positive, negative) = (map.borders_below(positive), map.borders_below(negative));
            if let Some(lowest) = map.lowest.get_mut(cell) {
                *lowest = positive;
            }
            if let Some(lowest) = map.lowest.get_mut(cell.saturating_add(CELLS)) {
                *lowest = negative;
            }
        }
        map
    }

    /// Index of the entry nearest to `value`, the lower one of two; any index for NaN.
    pub(super) fn nearest(&self, value: f32) -> u8 {
        let bits = value.to_bits();
        let number = ((bits & MAGNITUDE) >> CELL_SHIFT).saturating_sub(FIRST_CELL);
        let cell =
            (number as usize).min(CELLS - 1) | ((bits >> 31) << CELLS.trailing_zeros()) as usize;
        let lowest = self.lowest.get(cell).copied().unwrap_or_default();
        let border = self
            .borders
            .get(usize::from(lowest))
            .copied()
            .unwrap_or(f32::INFINITY);
        lowest.saturating_add(u8::from(value > border))
    }

    fn borders_below(&self, value: f32) -> u8 {
        let below = self.borders.partition_point(|&border| border < value);
        u8::try_from(below).unwrap_or(u8::MAX)
    }
}

/// The values in the reference's own order of single-precision operations, so that they agree
/// to the last bit: interval ends by a fused multiply-add, counted from the nearer end.
fn code() -> [f32; ENTRIES] {
    const DECADES: [f32; 7] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
    const LOW: f32 = 0.1;
    const HIGH: f32 = 1.0;
    let mut code = [0.0_f32; ENTRIES];
    let mut slots = code.iter_mut();
    for (exponent, decade) in (0_u32..).zip(DECADES) {
        let intervals = 1_u32 << exponent;
        let step = (HIGH - LOW) / intervals as f32;
        let end = |point: u32| {
            if point < intervals.saturating_add(1) / 2 {
                step.mul_add(point as f32, LOW)
            } else {
                (-step).mul_add(intervals.saturating_sub(point) as f32, HIGH)
            }
        };
        for interval in 0..intervals {
            let midpoint = f32::midpoint(end(interval), end(interval.saturating_add(1)));
            let pair = [decade * midpoint, -(decade * midpoint)];
            // The pair leads: `zip` would otherwise take a slot too many.
            for (value, slot) in pair.into_iter().zip(slots.by_ref()) {
                *slot = value;
            }
        }
    }
    // 254 slots are filled; of the last two one stays 0.
    if let Some(slot) = slots.next() {
        *slot = HIGH;
    }
    code.sort_unstable_by(f32::total_cmp);
    if let Some(lowest) = code.first_mut() {
        *lowest = -HIGH;
    }
    code
}

/// The largest float not above `value`, which is finite and in the range of normal floats.
fn floor_to_f32(value: f64) -> f32 {
    let nearest = statistics::narrow(value);
    if f64::from(nearest) > value {
        nearest.next_down()
    } else {
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oracle: all 256 distances, the lower entry of two equally near ones.
    fn nearest_by_search(code: &[f32], value: f32) -> u8 {
        let distance = |index: usize| (f64::from(code[index]) - f64::from(value)).abs();
        let nearest = (1..code.len()).fold(0, |best, index| {
            if distance(index) < distance(best) {
                index
            } else {
                best
            }
        });
        u8::try_from(nearest).unwrap()
    }

    #[test]
    fn nearest_is_what_a_search_finds() {
        let map = &*DYNAMIC_MAP;
        let around = |value: f32| [value.next_down(), value, value.next_up()];
        let cells = (0..=u16::MAX).map(|top| f32::from_bits(u32::from(top) << 16));
        let values = map
            .borders
            .iter()
            .chain(&map.code)
            .flat_map(|&value| around(value));
        for value in values.chain(cells).filter(|value| value.abs() < 16.0) {
            assert_eq!(
                map.nearest(value),
                nearest_by_search(&map.code, value),
                "{value:e}"
            );
        }
    }

    #[test]
    fn no_cell_contains_two_borders() {
        let cell = |border: f32| border.to_bits() >> CELL_SHIFT;
        let inner = &DYNAMIC_MAP.borders[..ENTRIES - 1];
        assert!(inner.windows(2).all(|pair| cell(pair[0]) != cell(pair[1])));
        let smallest = f32::from_bits((FIRST_CELL + 1) << CELL_SHIFT);
        assert!(inner.iter().all(|border| border.abs() >= smallest));
    }

    #[test]
    fn the_code_ascends_from_minus_one_to_one_through_zero() {
        let code = &DYNAMIC_MAP.code;
        assert!(code.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((code[0], code[127], code[255]), (-1.0, 0.0, 1.0));
    }
}
