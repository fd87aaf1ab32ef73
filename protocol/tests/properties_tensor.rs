//! What must hold for every tensor: codecs stay within their error, and hostile buffers are
//! refused without a panic.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use block_protocol::{
    Compression, DType, DecodeError, WireTensor,
    compression::{decode_f32, decode_i64, encode_f32, encode_i64},
    tensor::element_count,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Half a step of a float, relative to it: 2^-(bits of its significand).
const F16_ERROR: f32 = 1.0 / 2048.0;
const BF16_ERROR: f32 = 1.0 / 256.0;
/// Slack for single-precision arithmetic, relative to the largest magnitude involved.
const ROUNDING: f32 = 1e-6;

const ALL_DTYPES: [DType; 11] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::F64,
    DType::I64,
    DType::I32,
    DType::I16,
    DType::I8,
    DType::U8,
    DType::Bool,
    DType::Continued,
];

/// Activations: mostly small, some outliers.
fn activations() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![8 => -4.0_f32..4.0, 1 => -300.0_f32..300.0, 1 => Just(0.0)];
    vec(value, 1..600)
}

fn tensor(dtype: DType, shape: &[usize], compression: Compression, buffer: Vec<u8>) -> WireTensor {
    WireTensor {
        dtype,
        shape: shape.to_vec(),
        compression,
        chunks: 0,
        requires_grad: false,
        buffer: buffer.into(),
    }
}

fn round_trip(values: &[f32], dtype: DType, compression: Compression) -> Vec<f32> {
    decode_f32(&encode_f32(values, &[values.len()], dtype, compression).unwrap()).unwrap()
}

fn max_magnitude(values: &[f32]) -> f32 {
    values.iter().map(|value| value.abs()).fold(0.0, f32::max)
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64) as f32
}

proptest! {
    #[test]
    fn uncompressed_is_exact_up_to_the_dtype(values in activations()) {
        prop_assert_eq!(&round_trip(&values, DType::F32, Compression::None), &values);
        prop_assert_eq!(&round_trip(&values, DType::F64, Compression::None), &values);
        for (dtype, bound) in [(DType::F16, F16_ERROR), (DType::BF16, BF16_ERROR)] {
            for (value, back) in values.iter().zip(round_trip(&values, dtype, Compression::None)) {
                prop_assert!((value - back).abs() <= value.abs() * bound + 1e-7, "{value} {back}");
            }
        }
    }

    #[test]
    fn float16_loses_half_a_step(values in vec(any::<f32>(), 0..600)) {
        for (value, back) in values.iter().zip(round_trip(&values, DType::F32, Compression::Float16)) {
            let clamped = value.clamp(-65504.0, 65504.0);
            prop_assert!(value.is_nan() && back.is_nan() || (clamped - back).abs() <= clamped.abs() * F16_ERROR + 6e-8);
        }
    }

    #[test]
    fn mean_std_loses_half_a_step_of_the_distance_to_the_mean(rows in vec(vec(-300.0_f32..300.0, 7), 1..40)) {
        let values = rows.concat();
        let shape = [rows.len(), 1, 7];
        let tensor = encode_f32(&values, &shape, DType::F32, Compression::MeanStd16).unwrap();
        let decoded = decode_f32(&tensor).unwrap();
        for (row, back) in rows.iter().zip(decoded.chunks(7)) {
            let (mean, slack) = (mean(row), max_magnitude(row) * ROUNDING);
            for (value, back) in row.iter().zip(back) {
                prop_assert!((value - back).abs() <= (value - mean).abs() * F16_ERROR + slack + 1e-6);
            }
        }
    }

    /// Short of the outermost buckets, which begin at 126.5 × 6/256 = 2.96 deviations, nothing
    /// moves by more than a bucket's width; the mean stays.
    #[test]
    fn uniform_loses_at_most_a_bucket(values in activations()) {
        let decoded = round_trip(&values, DType::F32, Compression::Uniform8);
        let (mean_before, slack) = (mean(&values), max_magnitude(&values) * ROUNDING);
        let squares: Vec<f32> = values.iter().map(|value| (value - mean_before).powi(2)).collect();
        let std = (mean(&squares) * values.len() as f32 / (values.len() - 1).max(1) as f32).sqrt();
        for (value, back) in values.iter().zip(&decoded) {
            if (value - mean_before).abs() < 2.96 * std {
                prop_assert!((value - back).abs() <= 6.0 * std / 256.0 * 1.001 + slack, "{value} {back} {std}");
            }
        }
        prop_assert!((mean(&decoded) - mean_before).abs() <= slack * 4.0);
    }

    /// A value moves at most to one that is a bucket's share of ranks away.
    #[test]
    fn quantile_keeps_ranks(values in activations()) {
        let decoded = round_trip(&values, DType::F32, Compression::Quantile8);
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        let (share, last) = (values.len() / 256 + 2, values.len() - 1);
        let slack = max_magnitude(&values) * ROUNDING;
        for (value, back) in values.iter().zip(&decoded) {
            let lowest = sorted.partition_point(|other| other < value);
            let highest = sorted.partition_point(|other| other <= value);
            let (low, high) = (sorted[lowest.saturating_sub(share)], sorted[(highest + share).min(last)]);
            prop_assert!((low - slack..=high + slack).contains(back), "{value} {back} {low} {high}");
        }
    }

    /// Half of the code's widest gap, between -1 and -0.979.
    #[test]
    fn blockwise_loses_a_hundredth_of_the_block_maximum(values in vec(-4.0_f32..4.0, 1..9000)) {
        let decoded = round_trip(&values, DType::F32, Compression::Blockwise8);
        for (block, back) in values.chunks(4096).zip(decoded.chunks(4096)) {
            let bound = max_magnitude(block) * 0.0106;
            prop_assert!(block.iter().zip(back).all(|(value, back)| (value - back).abs() <= bound));
        }
    }

    /// The same code, the same scales: the same numbers in every dtype, in fewer bytes, and for each row as if it were
    /// alone.
    #[test]
    fn an_implied_code_gives_each_row_the_same_values_as_alone(
        bits in vec(any::<u32>(), 1..9000),
        rows in 1_usize..5,
        dtype in select(vec![DType::F32, DType::F16, DType::BF16, DType::F64]),
    ) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let row = values.len();
        // Rows that differ in size, so that a shared scale would show.
        let values: Vec<f32> = (0..rows)
            .flat_map(|number| values.iter().map(move |value| value * [1.0, 8.0, 0.5, 64.0][number]))
            .collect();
        let packed = |values: &[f32], compression| {
            encode_f32(values, &[values.len() / row, row], dtype, compression).unwrap()
        };
        let bits = |tensor| decode_f32(&tensor).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let implied = packed(&values, Compression::Blockwise8Implied);
        prop_assert_eq!(implied.buffer.len(), values.len() + 4 * rows * row.div_ceil(4096));
        let rows = values.chunks(row);
        let alone: Vec<u32> = rows.flat_map(|row| bits(packed(row, Compression::Blockwise8))).collect();
        prop_assert_eq!(bits(implied), alone);
    }

    #[test]
    fn results_are_representable_in_the_dtype(
        values in activations(),
        dtype in select(vec![DType::F16, DType::BF16]),
        compression in select(Compression::ALL.to_vec()),
    ) {
        let Ok(tensor) = encode_f32(&values, &[values.len()], dtype, compression) else {
            prop_assert_eq!(dtype, DType::BF16);
            return Ok(());
        };
        let decoded = decode_f32(&tensor).unwrap();
        prop_assert_eq!(round_trip(&decoded, dtype, Compression::None), decoded);
    }

    /// Any bit pattern goes in, NaN and infinities included; as many values come out.
    #[test]
    fn encoders_take_any_float(
        bits in vec(any::<u32>(), 0..300),
        dtype in select(vec![DType::F32, DType::F16, DType::BF16, DType::F64]),
        compression in select(Compression::ALL.to_vec()),
    ) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        if let Ok(tensor) = encode_f32(&values, &[values.len()], dtype, compression) {
            prop_assert_eq!(decode_f32(&tensor).unwrap().len(), values.len());
        }
    }

    #[test]
    fn arbitrary_buffers_never_panic(
        buffer in vec(any::<u8>(), 0..1200),
        codebook in any::<bool>(),
        shape in vec(0_usize..20, 0..4),
        dtype in select(ALL_DTYPES.to_vec()),
        compression in select(Compression::ALL.to_vec()),
    ) {
        let mut buffer = buffer;
        if codebook && let Some(count) = buffer.first_chunk_mut() {
            *count = 256_i64.to_le_bytes();
        }
        let tensor = tensor(dtype, &shape, compression, buffer);
        let numel = element_count(&shape).unwrap();
        if let Ok(values) = decode_f32(&tensor) {
            prop_assert_eq!(values.len(), numel);
        }
        if let Ok(values) = decode_i64(&tensor) {
            prop_assert_eq!(values.len(), numel);
        }
    }

    #[test]
    fn a_buffer_that_is_too_short_or_too_long_is_refused(
        values in vec(-4.0_f32..4.0, 1..40),
        compression in select(Compression::ALL.to_vec()),
        extra in any::<u8>(),
    ) {
        let whole = encode_f32(&values, &[values.len()], DType::F32, compression).unwrap();
        for length in 0..whole.buffer.len() {
            let part = WireTensor { buffer: whole.buffer.slice(..length), ..whole.clone() };
            prop_assert!(decode_f32(&part).is_err(), "{length} bytes");
        }
        let longer = [&*whole.buffer, &[extra]].concat();
        let longer = WireTensor { buffer: longer.into(), ..whole };
        prop_assert!(decode_f32(&longer).is_err());
    }

    #[test]
    fn integers_round_trip(values in vec(any::<i64>(), 0..50)) {
        let tensor = encode_i64(&values, &[values.len(), 1]).unwrap();
        prop_assert_eq!(decode_i64(&tensor).unwrap(), values);
    }
}

#[test]
fn values_that_are_not_finite_spoil_only_what_shares_their_scale() {
    let mut values = vec![1.0_f32; 2 * 4096];
    values[1] = f32::INFINITY;
    let spoiled = |compression| {
        let tensor = encode_f32(&values, &[2, 4096], DType::F32, compression).unwrap();
        let decoded = decode_f32(&tensor).unwrap();
        decoded.iter().filter(|value| value.is_nan()).count()
    };
    assert_eq!(spoiled(Compression::None), 0);
    assert_eq!(spoiled(Compression::Float16), 0);
    assert_eq!(spoiled(Compression::MeanStd16), 4096);
    assert_eq!(spoiled(Compression::Blockwise8), 4096);
    assert_eq!(spoiled(Compression::Blockwise8Implied), 4096);
    assert_eq!(spoiled(Compression::Uniform8), 2 * 4096);
    assert_eq!(spoiled(Compression::Quantile8), 2 * 4096);
}

#[test]
fn constant_and_single_values_survive() {
    for compression in Compression::ALL {
        for values in [vec![0.0; 5], vec![-2.5; 5], vec![3.0], vec![1e-40; 3]] {
            let decoded = round_trip(&values, DType::F32, compression);
            let error = values
                .iter()
                .zip(&decoded)
                .map(|(l, r)| (l - r).abs())
                .fold(0.0, f32::max);
            assert!(
                error <= 1e-6,
                "{} {values:?} {decoded:?}",
                compression.name()
            );
        }
    }
}

/// Longer than one chunk of the approximation: still no bucket holds much more than its share.
#[test]
fn quantiles_of_a_long_tensor_are_balanced() {
    let values: Vec<f32> = (0..300_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32)
        .collect();
    let tensor = encode_f32(&values, &[values.len()], DType::F32, Compression::Quantile8).unwrap();
    let mut counts = [0_usize; 256];
    for &index in &tensor.buffer[8 + 1024..] {
        counts[usize::from(index)] += 1;
    }
    let share = values.len() / 256;
    assert!(
        counts
            .iter()
            .all(|&count| count > share * 9 / 10 && count < share * 11 / 10),
        "{counts:?}"
    );
}

#[test]
fn claims_beyond_the_limits_are_refused_before_allocation() {
    let limited = |result: Result<Vec<f32>, DecodeError>| {
        matches!(result, Err(DecodeError::LimitExceeded { .. }))
    };
    for shape in [
        vec![usize::MAX, 2],
        vec![1 << 40],
        vec![1 << 20, 1 << 20],
        vec![1; 9],
    ] {
        for compression in Compression::ALL {
            assert!(limited(decode_f32(&tensor(
                DType::F32,
                &shape,
                compression,
                vec![0; 64]
            ))));
        }
    }
    for count in [257, i64::MAX] {
        for compression in [
            Compression::Quantile8,
            Compression::Uniform8,
            Compression::Blockwise8,
        ] {
            let buffer = [count.to_le_bytes(), count.to_le_bytes()].concat();
            assert!(decode_f32(&tensor(DType::F32, &[4], compression, buffer)).is_err());
        }
    }
    assert_eq!(
        decode_f32(&tensor(
            DType::F32,
            &[usize::MAX, 0],
            Compression::None,
            Vec::new()
        )),
        Ok(Vec::new())
    );
}

#[test]
fn counts_and_indices_must_agree_with_the_shape() {
    let codebook = |count: i64, entries: usize, indices: &[u8]| {
        let buffer = [&count.to_le_bytes()[..], &vec![0; entries * 4], indices].concat();
        decode_f32(&tensor(DType::F32, &[2], Compression::Uniform8, buffer))
    };
    assert_eq!(codebook(3, 3, &[0, 2]), Ok(vec![0.0; 2]));
    assert!(
        codebook(3, 3, &[0, 3]).is_err(),
        "an index beyond the codebook"
    );
    assert!(codebook(0, 0, &[0, 0]).is_err());
    assert!(codebook(-1, 0, &[0, 0]).is_err());
    assert!(codebook(4, 3, &[0, 0]).is_err());
    let two_scales = [2_i64, 1].map(i64::to_le_bytes).concat();
    let buffer = [&two_scales[..], &[0; 12], &[0, 0]].concat();
    assert!(decode_f32(&tensor(DType::F32, &[2], Compression::Blockwise8, buffer)).is_err());
}

#[test]
fn encoders_refuse_what_receivers_would() {
    for compression in [Compression::Float16, Compression::MeanStd16] {
        assert!(encode_f32(&[1.0], &[1], DType::BF16, compression).is_err());
    }
    for dtype in [DType::I64, DType::Bool, DType::Continued] {
        assert!(encode_f32(&[1.0], &[1], dtype, Compression::None).is_err());
    }
    assert!(encode_f32(&[1.0], &[2], DType::F32, Compression::None).is_err());
    assert!(encode_f32(&[1.0], &[1; 9], DType::F32, Compression::None).is_err());
    assert!(encode_i64(&[1], &[]).is_ok(), "a scalar");
    assert!(encode_i64(&[1], &[0]).is_err());
}

#[test]
fn a_tensor_without_elements_travels_uncompressed() {
    for compression in Compression::ALL {
        let sent = encode_f32(&[], &[0], DType::F32, compression).unwrap();
        assert!(sent.is_dummy() && sent.buffer.is_empty());
        assert_eq!(sent.compression, Compression::None);
        // Others write the headers of their codec.
        let received = tensor(DType::F32, &[0], compression, vec![1; 1032]);
        assert_eq!(decode_f32(&received), Ok(Vec::new()));
    }
    let empty = encode_i64(&[], &[0]).unwrap();
    assert!(empty.is_dummy() && empty.buffer.is_empty());
}

#[test]
fn names_and_numbers_round_trip() {
    for dtype in ALL_DTYPES {
        assert_eq!(DType::from_name(dtype.name()), Some(dtype));
    }
    assert_eq!(DType::from_name("complex64"), None);
    for codec in Compression::ALL {
        assert_eq!(Compression::try_from(codec.number()), Ok(codec));
        assert_eq!(Compression::from_name(codec.name()), Some(codec));
    }
    for (number, codec) in [
        (0, Compression::None),
        (5, Compression::Blockwise8),
        (69, Compression::Blockwise8Implied),
    ] {
        assert_eq!(codec.number(), number);
        assert_eq!(codec.in_reference(), number < Compression::FIRST_OWN);
    }
    assert!(Compression::try_from(6).is_err() && Compression::try_from(-1).is_err());
}
