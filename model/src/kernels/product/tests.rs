//! Products against plain sums in double precision, and against themselves in other company.

use std::sync::Mutex;

use half::bf16;
use proptest::prelude::*;

use super::{PANEL, Sink, Sums, product};
use crate::kernels::activations::Activations;
use crate::kernels::format::{Format, INT_BLOCK, INT6_BLOCK};
use crate::kernels::level::Level;
use crate::kernels::packed::{Packed, Place};
use crate::kernels::pool::Pool;
use crate::kernels::quantized_row::QuantizedRow;

/// Keeps everything.
struct Keep {
    outputs: usize,
    sums: Mutex<Vec<f32>>,
}

impl Sink for Keep {
    fn put(&self, unit: usize, first_row: usize, sums: &[&Sums]) {
        let mut kept = self.sums.lock().unwrap();
        for (row, sums) in sums[0].iter().enumerate() {
            for (lane, sum) in sums
                .iter()
                .enumerate()
                .filter(|(lane, _)| unit * PANEL + lane < self.outputs)
            {
                kept[(first_row + row) * self.outputs + unit * PANEL + lane] = *sum;
            }
        }
    }
}

/// Numbers without pattern.
fn noise(seed: usize, count: usize) -> Vec<f32> {
    let hash = |i: usize| ((i + seed * 7919 + 1) as u32).wrapping_mul(2_654_435_761) >> 8;
    (0..count)
        .map(|i| hash(i) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

struct Case {
    weights: Packed,
    pool: Pool,
}

impl Case {
    fn new(format: Format, outputs: usize, inputs: usize) -> Self {
        let pool = Pool::new(2).unwrap();
        let mut weights = Packed::zeros(format, outputs, inputs).unwrap();
        weights.fill(
            Level::Portable,
            &pool,
            Place::From(0),
            outputs,
            &|row, values| values.copy_from_slice(&noise(row, inputs)),
        );
        Self { weights, pool }
    }

    fn multiply(&self, level: Level, rows: &[Vec<f32>]) -> Vec<f32> {
        let outputs = self.weights.outputs();
        let mut activations = Activations::new(level);
        let size = [rows.len(), self.weights.padded_inputs()];
        activations.fill(&self.pool, self.weights.format(), size, &|row, values| {
            values[..rows[row].len()].copy_from_slice(&rows[row]);
            values[rows[row].len()..].fill(0.0);
        });
        let sink = Keep {
            outputs,
            sums: Mutex::new(vec![f32::NAN; rows.len() * outputs]),
        };
        product(level, &self.pool, &self.weights, &activations, &sink);
        sink.sums.into_inner().unwrap()
    }
}

/// What an activation is rounded to on its way into a product of this format.
fn rounding(format: Format) -> fn(f32) -> f32 {
    match format {
        Format::Bf16 | Format::Nf4 => |value| bf16::from_f32(value).to_f32(),
        Format::F32
        | Format::F16
        | Format::Bf16Exact
        | Format::Int8
        | Format::Int4
        | Format::Int4Min
        | Format::Int6 => |value| value,
    }
}

/// By how much a sum may be wrong: roundings of single precision, and where activations are quantized to 8 bits half
/// a step of each, whose size the largest of its block sets.
fn ceiling(format: Format, weights: &[f32], activations: &[f32]) -> f64 {
    let weighed = |weights: &[f32], size: &dyn Fn(usize) -> f32| -> f64 {
        let terms = weights.iter().enumerate();
        terms.map(|(i, w)| f64::from((w * size(i)).abs())).sum()
    };
    let half_steps = match format {
        Format::Int8 | Format::Int4 | Format::Int4Min | Format::Int6 => weights
            .chunks(INT_BLOCK)
            .zip(activations.chunks(INT_BLOCK))
            .map(|(weights, activations)| {
                let largest = activations.iter().fold(0.0f32, |max, a| max.max(a.abs()));
                weighed(weights, &|_| 0.501 * largest / 127.0)
            })
            .sum(),
        Format::F32 | Format::F16 | Format::Bf16 | Format::Bf16Exact | Format::Nf4 => 0.0,
    };
    half_steps + 2e-6 * weighed(weights, &|i| activations[i]) + 1e-12
}

fn check(format: Format, rows: usize, outputs: usize, inputs: usize) {
    let case = Case::new(format, outputs, inputs);
    let activations: Vec<_> = (0..rows).map(|row| noise(row + 1000, inputs)).collect();
    for level in Level::available() {
        let found = case.multiply(level, &activations);
        let mut weights = vec![0.0; inputs];
        for output in 0..outputs {
            case.weights.row(output, &mut weights);
            for (row, activations) in activations.iter().enumerate() {
                let round = rounding(format);
                let terms = weights
                    .iter()
                    .zip(activations)
                    .map(|(w, a)| f64::from(*w) * f64::from(round(*a)));
                let difference =
                    (f64::from(found[row * outputs + output]) - terms.sum::<f64>()).abs();
                let ceiling = ceiling(format, &weights, activations);
                assert!(
                    difference <= ceiling,
                    "{level} {format:?} {row} {output}: {difference} > {ceiling}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_level_agrees_with_plain_sums(
        rows in 1usize..40,
        outputs in 1usize..130,
        inputs in 1usize..300,
        format in prop::sample::select(&Format::ALL[..]),
    ) {
        check(format, rows, outputs, inputs);
    }

    #[test]
    fn a_row_does_not_feel_its_company(
        rows in 2usize..60,
        inputs in 1usize..200,
        format in prop::sample::select(&Format::ALL[..]),
    ) {
        let case = Case::new(format, 70, inputs);
        let activations: Vec<_> = (0..rows).map(|row| noise(row + 1000, inputs)).collect();
        for level in Level::available() {
            let together = case.multiply(level, &activations);
            for (row, activations) in activations.iter().enumerate() {
                let alone = case.multiply(level, std::slice::from_ref(activations));
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&alone), bits(&together[row * 70..(row + 1) * 70]), "{} {:?}", level, format);
            }
        }
    }
}

#[test]
fn many_rows_and_panels_are_shared_out() {
    for format in Format::ALL {
        check(format, 67, 32 * 9 + 5, 512);
    }
}

/// Formats of integers, multiplied by integers.
const INTEGERS: [Format; 4] = [Format::Int8, Format::Int4, Format::Int4Min, Format::Int6];

/// Whole numbers, small enough that single precision holds every sum of them, and activations that 8 bits can hold.
#[test]
fn whole_numbers_are_multiplied_exactly() {
    const OUTPUTS: usize = 40;
    const INPUTS: usize = 3 * INT_BLOCK + 21;
    const ROWS: usize = 37;
    let whole = |seed: usize, count: usize, [least, most]: [f32; 2]| {
        let values = noise(seed, count).into_iter();
        let spread = values.map(|value| f32::midpoint(value, 1.0) * (most - least) + least);
        spread.map(f32::round).collect::<Vec<_>>()
    };
    let activations: Vec<_> = (0..ROWS)
        .map(|row| {
            let mut values = whole(row + 1000, INPUTS, [-127.0, 127.0]);
            // The largest of each block makes its scale one.
            for block in values.chunks_mut(INT_BLOCK) {
                block[row % block.len()] = if row % 2 == 0 { 127.0 } else { -127.0 };
            }
            values
        })
        .collect();
    for format in INTEGERS {
        let (bounds, minimum, inputs_per_scale) = match format {
            Format::Int8 => ([-128.0, 127.0], 0.0, INT_BLOCK),
            Format::Int6 => ([-32.0, 31.0], 9.0, INT6_BLOCK),
            Format::Int4Min => ([0.0, 15.0], 9.0, INT_BLOCK),
            _ => ([-8.0, 7.0], 0.0, INT_BLOCK),
        };
        let mut case = Case::new(format, OUTPUTS, INPUTS);
        let place = Place::From(0);
        let read = |row: usize, quantized: QuantizedRow<'_>| {
            let integers = whole(row, INPUTS, bounds).into_iter();
            for (target, integer) in quantized.integers.iter_mut().zip(integers) {
                *target = integer as i8;
            }
            for (number, target) in quantized.scales.iter_mut().enumerate() {
                *target = ((row + INT6_BLOCK * number / inputs_per_scale) % 4) as f32;
            }
            for (number, target) in quantized.minimums.iter_mut().enumerate() {
                *target = minimum - ((row + number) % 3) as f32 * minimum;
            }
        };
        case.weights
            .fill_quantized(Level::Portable, &case.pool, place, OUTPUTS, &read);
        let mut expected = Vec::new();
        for activations in &activations {
            for output in 0..OUTPUTS {
                let mut row = vec![0.0; INPUTS];
                case.weights.row(output, &mut row);
                let terms = row.iter().zip(activations);
                expected.push(
                    terms
                        .map(|(weight, activation)| weight * activation)
                        .sum::<f32>(),
                );
            }
        }
        for level in Level::available() {
            assert_eq!(
                case.multiply(level, &activations),
                expected,
                "{level} {format:?}"
            );
        }
    }
}

/// With integer weights all levels but the portable one do the same operations in the same order, with few rows and
/// with many.
#[test]
fn integers_agree_between_levels_to_the_last_bit() {
    for (format, rows) in INTEGERS
        .into_iter()
        .flat_map(|format| [(format, 9), (format, 45)])
    {
        let case = Case::new(format, 64, 9 * 32);
        let activations: Vec<_> = (0..rows).map(|row| noise(row + 1000, 9 * 32)).collect();
        let mut found = Level::available()
            .into_iter()
            .filter(|level| *level != Level::Portable);
        if let Some(first) = found.next() {
            let first = case.multiply(first, &activations);
            assert!(found.all(|level| case.multiply(level, &activations) == first));
        }
    }
}

/// What `tdpbf16ps` does to one sum, as Intel's manual of instructions states it: of 32 inputs the even and the odd
/// ones are summed on their own, each step rounded once, then both are added.
#[test]
fn matrices_of_bf16_round_as_documented() {
    const INPUTS: usize = 4 * 64;
    let case = Case::new(Format::Bf16, 40, INPUTS);
    let levels = Level::available().into_iter();
    let matrices = levels.filter(|level| *level == Level::Amx);
    for (level, rows) in matrices.flat_map(|level| [1, 16, 17, 33].map(|rows| (level, rows))) {
        let activations: Vec<_> = (0..rows).map(|row| noise(row + 1000, INPUTS)).collect();
        let found = case.multiply(level, &activations);
        let mut weights = vec![0.0; INPUTS];
        for output in 0..40 {
            case.weights.row(output, &mut weights);
            for (row, activations) in activations.iter().enumerate() {
                let round = rounding(Format::Bf16);
                let mut sum = 0.0f32;
                for (weights, activations) in weights.chunks(32).zip(activations.chunks(32)) {
                    let part = |first: usize| {
                        let terms = weights.iter().zip(activations).skip(first).step_by(2);
                        terms.fold(0.0f32, |sum, (w, a)| w.mul_add(round(*a), sum))
                    };
                    sum += part(0) + part(1);
                }
                let found = found[row * 40 + output];
                assert_eq!(found.to_bits(), sum.to_bits(), "{rows} {row} {output}");
            }
        }
    }
}
