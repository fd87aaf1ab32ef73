//! Tensor codecs against the plain copy of `none` in float32, for one prompt of 512 tokens at hidden size 4096.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark reports on stdout and stops at the first error"
)]

use block_benches::{Subject, compare};
use block_protocol::compression::{decode_f32, encode_f32};
use block_protocol::{Compression, DType};

fn main() {
    let shape = [1, 512, 4096];
    // Deterministic values of varying magnitude, as hidden states have.
    let values: Vec<f32> = (0..shape.iter().product::<usize>())
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0 * (1.0 + (i % 4096) as f32 / 512.0))
        .collect();
    let kinds = [
        ("none float32", DType::F32, Compression::None),
        ("none bfloat16", DType::BF16, Compression::None),
        ("float16", DType::F32, Compression::Float16),
        ("meanstd16", DType::F32, Compression::MeanStd16),
        ("uniform8", DType::F32, Compression::Uniform8),
        ("blockwise8", DType::F32, Compression::Blockwise8),
    ];
    println!("encode, [1, 512, 4096]");
    let encoders = kinds.map(|(name, dtype, compression)| {
        let (values, shape) = (&values, &shape);
        Subject::new(name, move || {
            std::hint::black_box(encode_f32(values, shape, dtype, compression).unwrap());
        })
    });
    compare(encoders.into())
        .iter()
        .for_each(|line| println!("  {line}"));
    println!("decode, [1, 512, 4096]");
    let decoders = kinds.map(|(name, dtype, compression)| {
        let tensor = encode_f32(&values, &shape, dtype, compression).unwrap();
        Subject::new(name, move || {
            std::hint::black_box(decode_f32(&tensor).unwrap());
        })
    });
    compare(decoders.into())
        .iter()
        .for_each(|line| println!("  {line}"));
}
