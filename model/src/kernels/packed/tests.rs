//! Rows in every format, there and back.

use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::{Packed, Place};
use crate::kernels::format::Format;
use crate::kernels::level::Level;
use crate::kernels::pool::Pool;

/// How far a packed weight may be from its value, as a share of its block's largest.
fn tolerance(format: Format) -> f32 {
    match format {
        Format::F32 => 0.0,
        Format::F16 => 1.0 / 2048.0,
        Format::Bf16 | Format::Bf16Exact => 1.0 / 256.0,
        Format::Int8 => 0.006,
        Format::Int4 => 0.13,
        Format::Int4Min => 0.067,
        Format::Int6 => 0.0165,
        Format::Nf4 => 0.16,
    }
}

fn value(row: usize, input: usize) -> f32 {
    ((row * 131 + input * 37) % 101) as f32 / 50.0 - 1.0
}

proptest! {
    #[test]
    fn rows_come_back(outputs in 1usize..100, inputs in 1usize..150, start in 0usize..50) {
        let pool = Pool::new(2).unwrap();
        for format in Format::ALL {
            let mut packed = Packed::zeros(format, outputs + start, inputs).unwrap();
            packed.fill(Level::Portable, &pool, Place::From(start), outputs, &|row, values| {
                for (input, target) in values.iter_mut().enumerate() {
                    *target = value(row, input);
                }
            });
            let mut row = vec![0.0; inputs];
            for output in 0..outputs + start {
                packed.row(output, &mut row);
                for (input, found) in row.iter().enumerate() {
                    let expected = output.checked_sub(start).map_or(0.0, |row| value(row, input));
                    prop_assert!((found - expected).abs() <= tolerance(format), "{format:?} {found} {expected}");
                }
            }
        }
    }
}

/// What a reader of quantized rows may write for a format: integers, and whether there are minimums and scales for
/// half a block.
fn quantized(format: Format) -> (RangeInclusive<i8>, bool, bool) {
    match format {
        Format::Int8 => (-128..=127, false, false),
        Format::Int4 => (-8..=7, false, false),
        Format::Int4Min => (0..=15, true, false),
        Format::Int6 => (-32..=31, true, true),
        Format::F32 | Format::F16 | Format::Bf16 | Format::Bf16Exact | Format::Nf4 => {
            (-1..=1, true, true)
        }
    }
}

proptest! {
    /// Scales and minimums that f16 can hold, and weights that the format can.
    #[test]
    fn quantized_rows_come_back_as_they_are(
        outputs in 1usize..70,
        inputs in 1usize..200,
        start in 0usize..50,
        seed in any::<u64>(),
    ) {
        let pool = Pool::new(2).unwrap();
        let level = Level::available()[0];
        let hash = |row: usize, place: usize| {
            let mixed = (seed ^ (row * 1009 + place) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed >> 40) as i32
        };
        let formats = Format::ALL.into_iter().filter(|format| *format != Format::Nf4);
        for format in formats {
            let (range, has_minimums, has_halves) = quantized(format);
            let integer = |row: usize, input: usize| {
                let count = i32::from(*range.end()) - i32::from(*range.start()) + 1;
                i32::from(*range.start()) + hash(row, input) % count
            };
            let scale = |row: usize, input: usize| {
                let block = if has_halves { input / 16 } else { input / 32 };
                (hash(row, 500 + block) % 15 - 7) as f32 / 64.0
            };
            let minimum = |row: usize, input: usize| {
                let is_there = f32::from(u8::from(has_minimums));
                is_there * (hash(row, 600 + input / 32) % 15 - 7) as f32 / 64.0
            };
            let mut packed = Packed::zeros(format, outputs + start, inputs).unwrap();
            packed.fill_quantized(level, &pool, Place::From(start), outputs, &|row, quantized| {
                for (input, target) in quantized.integers.iter_mut().enumerate() {
                    *target = integer(row, input) as i8;
                }
                for (half, target) in quantized.scales.iter_mut().enumerate() {
                    *target = scale(row, 16 * half);
                }
                for (block, target) in quantized.minimums.iter_mut().enumerate() {
                    *target = minimum(row, 32 * block);
                }
            });
            let mut row = vec![0.0; inputs];
            for output in 0..outputs + start {
                packed.row(output, &mut row);
                for (input, found) in row.iter().enumerate() {
                    let expected = output.checked_sub(start).map_or(0.0, |row| {
                        scale(row, input) * integer(row, input) as f32 + minimum(row, input)
                    });
                    prop_assert_eq!(*found, expected, "{:?} {} {}", format, output, input);
                }
            }
        }
    }
}

#[test]
fn what_a_format_cannot_hold_is_cut_off() {
    let pool = Pool::new(1).unwrap();
    for (format, most, minimum) in [
        (Format::Int4, 7.0, 0.0),
        (Format::Int4Min, 15.0, -65504.0),
        (Format::Int6, 31.0, -65504.0),
    ] {
        let mut packed = Packed::zeros(format, 3, 70).unwrap();
        packed.fill_quantized(
            Level::Portable,
            &pool,
            Place::From(0),
            3,
            &|row, quantized| {
                let is_middle = row == 1;
                quantized.integers.fill(if is_middle { 127 } else { 1 });
                quantized.scales.fill(if is_middle { 1e9 } else { 1.0 });
                quantized.minimums.fill(if is_middle && minimum != 0.0 {
                    -1e9
                } else {
                    0.0
                });
            },
        );
        let mut row = [0.0; 70];
        for (output, expected) in [(0, 1.0), (1, 65504.0 * most + minimum), (2, 1.0)] {
            packed.row(output, &mut row);
            assert_eq!(row, [expected; 70], "{format:?} {output}");
        }
    }
}

#[test]
fn two_tensors_are_interleaved_by_panels() {
    let pool = Pool::new(1).unwrap();
    let mut packed = Packed::zeros(Format::F32, 192, 8).unwrap();
    for (place, offset) in [(Place::EvenPanels, 0.0), (Place::OddPanels, 1000.0)] {
        packed.fill(Level::Portable, &pool, place, 70, &|row, values| {
            values.fill(row as f32 + offset)
        });
    }
    let mut row = [0.0; 8];
    for (output, expected) in [
        (0, 0.0),
        (31, 31.0),
        (32, 1000.0),
        (64, 32.0),
        (96, 1032.0),
        (133, 69.0),
        (134, 0.0),
    ] {
        packed.row(output, &mut row);
        assert_eq!(row, [expected; 8], "{output}");
    }
}
