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

/// Floats fall into cells by sign, exponent and top six bits of mantissa: fine enough that no cell contains two borders.
const CELL_SHIFT: u32 = 17;

/// Cells of all floats.
const CELLS: usize = 1 << (u32::BITS - CELL_SHIFT);

/// Where in its cell a float lies.
const WITHIN_CELL: u32 = (1 << CELL_SHIFT) - 1;

/// Values whose indices are computed at a time: as many as fit the vector registers of the oldest x86-64.
const LANES: usize = 32;

/// The code with a table that finds the nearest entry in one look-up.
#[derive(Debug)]
pub(super) struct DynamicMap {
    /// The values, ascending.
    pub(super) code: [f32; ENTRIES],
    /// For each cell, ascending, a number to which adding a float's place in the cell gives the index of the nearest
    /// entry above [`CELL_SHIFT`] bits: the addition carries from the cell's border on, if it has one.
    cells: Box<[u32; CELLS]>,
}

impl DynamicMap {
    fn new() -> Self {
        let code = code();
        // The lowest floats that are nearer to the right neighbour, as ranks; all borders are far from zero.
        let borders: Vec<u32> = code
            .iter()
            .zip(code.iter().skip(1))
            .map(|(&left, &right)| {
                let highest_left = floor_to_f32((f64::from(left) + f64::from(right)) / 2.0);
                rank(highest_left).saturating_add(1)
            })
            .collect();
        let mut cells = Box::new([0; CELLS]);
        for (number, cell) in (0_u32..).zip(cells.iter_mut()) {
            let lowest = number << CELL_SHIFT;
            let index = borders.partition_point(|&border| border <= lowest);
            let border = borders.get(index).map(|border| border.wrapping_sub(lowest));
            let carry = match border {
                Some(place) if place <= WITHIN_CELL => {
                    WITHIN_CELL.saturating_add(1).saturating_sub(place)
                }
                _ => 0,
            };
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            *cell = (index << CELL_SHIFT).saturating_add(carry);
        }
        Self { code, cells }
    }

    /// Appends for every value, divided by `divisor`, the index of the nearest entry, the lower one of two; any index
    /// for NaN.
    pub(super) fn put_nearest(&self, out: &mut Vec<u8>, values: &[f32], divisor: f32) {
        let (lanes, rest) = values.as_chunks::<LANES>();
        for values in lanes {
            out.extend_from_slice(&self.nearest(values, divisor));
        }
        let mut last = [0.0; LANES];
        for (slot, &value) in last.iter_mut().zip(rest) {
            *slot = value;
        }
        out.extend(self.nearest(&last, divisor).iter().take(rest.len()));
    }

    /// Each step over all lanes before the next, so that all but the look-ups are vector instructions: as loops, since
    /// `map` over an array stays scalar.
    fn nearest(&self, values: &[f32; LANES], divisor: f32) -> [u8; LANES] {
        let (mut cells, mut places) = ([0; LANES], [0; LANES]);
        for ((cell, place), &value) in cells.iter_mut().zip(&mut places).zip(values) {
            // A multiplication by the reciprocal would be faster and, near borders, differ from the reference.
            let rank = rank(value / divisor);
            *cell = rank >> CELL_SHIFT;
            *place = rank & WITHIN_CELL;
        }
        let mut entries = [0; LANES];
        for (entry, cell) in entries.iter_mut().zip(cells) {
            *entry = self.cell(cell);
        }
        let mut indices = [0; LANES];
        for ((index, place), entry) in indices.iter_mut().zip(places).zip(entries) {
            *index = low_byte(entry.wrapping_add(place) >> CELL_SHIFT);
        }
        indices
    }

    /// The entry of a cell. The mask changes nothing and shows the compiler that every number is within the table.
    fn cell(&self, number: u32) -> u32 {
        let place = number as usize & (CELLS - 1);
        self.cells.get(place).copied().unwrap_or_default()
    }
}

/// The place of a float among all floats: its bits, mapped so that they ascend with it from −∞ to ∞.
const fn rank(value: f32) -> u32 {
    let bits = value.to_bits();
    let all_if_negative = bits.cast_signed() >> 31;
    bits ^ (all_if_negative.cast_unsigned() | (1 << 31))
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "an index: the higher bytes are zero"
)]
const fn low_byte(number: u32) -> u8 {
    number as u8
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
    use proptest::prelude::*;

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

    fn nearest(values: &[f32], divisor: f32) -> Vec<u8> {
        let mut indices = Vec::new();
        DYNAMIC_MAP.put_nearest(&mut indices, values, divisor);
        indices
    }

    fn assert_nearest(values: &[f32]) {
        let indices = nearest(values, 1.0);
        assert_eq!(indices.len(), values.len());
        for (&value, index) in values.iter().zip(indices) {
            // Beyond both ends distances in double precision no longer differ.
            let expected = nearest_by_search(&DYNAMIC_MAP.code, value.clamp(-2.0, 2.0));
            assert_eq!(index, expected, "{value:e}");
        }
    }

    /// The borders between neighbours, rounded down.
    fn borders() -> Vec<f32> {
        let middle = |pair: &[f32]| (f64::from(pair[0]) + f64::from(pair[1])) / 2.0;
        let pairs = DYNAMIC_MAP.code.windows(2);
        pairs.map(|pair| floor_to_f32(middle(pair))).collect()
    }

    #[test]
    fn nearest_is_what_a_search_finds_around_every_border_and_entry() {
        let around = |value: f32| [value.next_down(), value, value.next_up()];
        let values: Vec<f32> = borders()
            .into_iter()
            .chain(DYNAMIC_MAP.code)
            .flat_map(around)
            .collect();
        assert_nearest(&values);
    }

    #[test]
    fn nearest_is_what_a_search_finds_at_the_ends_of_every_cell() {
        // All exponents, both zeros, subnormal numbers and infinities are among them.
        let ends = (0..=u16::MAX).flat_map(|top| {
            let lowest = u32::from(top) << 16;
            [lowest, lowest | 0xffff].map(f32::from_bits)
        });
        let values: Vec<f32> = ends.filter(|value| !value.is_nan()).collect();
        assert_nearest(&values);
    }

    #[test]
    fn every_value_has_an_index_whatever_its_divisor() {
        let values = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0];
        for divisor in values {
            assert_eq!(nearest(&values, divisor).len(), values.len());
        }
        assert_eq!(nearest(&[], 1.0), []);
    }

    proptest! {
        #[test]
        fn nearest_is_what_a_search_finds(
            bits in prop::collection::vec(any::<u32>(), 0..3 * LANES),
            scaled in prop::collection::vec(-1.0_f32..=1.0, 0..3 * LANES),
            divisor in any::<f32>().prop_filter("a scale", |scale| *scale > 0.0 && scale.is_finite()),
        ) {
            let numbers = bits.into_iter().map(f32::from_bits).filter(|value| !value.is_nan());
            assert_nearest(&numbers.collect::<Vec<f32>>());
            let values: Vec<f32> = scaled.iter().map(|value| value * divisor).collect();
            let normalised = values.iter().map(|value| value / divisor);
            let expected: Vec<u8> = normalised
                .map(|value| nearest_by_search(&DYNAMIC_MAP.code, value))
                .collect();
            prop_assert_eq!(nearest(&values, divisor), expected);
        }
    }

    #[test]
    fn no_cell_contains_two_borders() {
        let cells: Vec<u32> = borders()
            .iter()
            .map(|&border| rank(border.next_up()) >> CELL_SHIFT)
            .collect();
        assert!(cells.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn the_code_ascends_from_minus_one_to_one_through_zero() {
        let code = &DYNAMIC_MAP.code;
        assert!(code.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((code[0], code[127], code[255]), (-1.0, 0.0, 1.0));
    }
}
