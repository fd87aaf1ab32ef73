//! `codec`: every tensor codec against the plain copy of float32, and the bytes it makes.

use anyhow::Result;
use block_protocol::compression::{decode_f32, encode_f32};
use block_protocol::{Compression, DType, WireTensor};

use crate::figure::{Figure, Goal};
use crate::rounds::{Effort, Rounds, Subject};
use crate::spread::Spread;

const BENCH: &str = "codec";

/// A prompt of 512 tokens at hidden size 4096.
const PROMPT: [usize; 3] = [1, 512, 4096];

/// A chunk of a prompt, and one token of the embedded model: the sizes that have goals.
const CHUNK: [usize; 3] = [1, 128, 4096];
const TOKEN: [usize; 3] = [1, 1, 256];

/// A codec with the dtype that the receiver gets back. The first is what all are compared to.
const KINDS: [(&str, DType, Compression); 7] = [
    ("none float32", DType::F32, Compression::None),
    ("none bfloat16", DType::BF16, Compression::None),
    ("float16", DType::F32, Compression::Float16),
    ("meanstd16", DType::F32, Compression::MeanStd16),
    ("uniform8", DType::F32, Compression::Uniform8),
    ("blockwise8", DType::F32, Compression::Blockwise8),
    (
        "blockwise8-implied",
        DType::F32,
        Compression::Blockwise8Implied,
    ),
];

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let mut figures = sizes()?;
    let values = hidden_states(PROMPT);
    let effort = Effort::new(21, quick, 15);
    let encoders = KINDS.map(|(_, dtype, codec)| {
        let values = &values;
        Subject::timed(move || {
            std::hint::black_box(encode_f32(values, &PROMPT, dtype, codec)?);
            Ok(())
        })
    });
    let rounds = Rounds::measure("codec encode", effort, encoders.into())?;
    figures.extend(speeds("encode", &rounds));
    let tensors = KINDS.map(|(_, dtype, codec)| encode_f32(&values, &PROMPT, dtype, codec));
    let tensors: Vec<WireTensor> = tensors.into_iter().collect::<Result<_, _>>()?;
    let decoders = tensors.iter().map(|tensor| {
        Subject::timed(move || {
            std::hint::black_box(decode_f32(tensor)?);
            Ok(())
        })
    });
    let rounds = Rounds::measure("codec decode", effort, decoders.collect())?;
    figures.extend(speeds("decode", &rounds));
    Ok(figures)
}

/// Deterministic values of varying magnitude, as hidden states have.
fn hidden_states(shape: [usize; 3]) -> Vec<f32> {
    let hidden = shape[2];
    (0..shape.iter().product::<usize>())
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0 * (1.0 + (i % hidden) as f32 / 512.0))
        .collect()
}

/// Per codec: GB of float32 a second, and its time as a multiple of the plain copy's.
fn speeds(direction: &str, rounds: &Rounds) -> Vec<Figure> {
    let float32_gb = PROMPT.iter().product::<usize>() as f64 * 4.0 / 1e9;
    let figures = KINDS.iter().enumerate().flat_map(|(index, (name, _, _))| {
        let rate = rounds.spread(|seconds| float32_gb / seconds[index]);
        [
            Figure::new(BENCH, format!("{direction} {name}"), rate, "GB/s of f32"),
            Figure::new(
                BENCH,
                format!("{direction} {name}, time"),
                rounds.ratio(index, 0),
                "x plain copy",
            ),
        ]
    });
    figures.collect()
}

/// Bytes of the two tensors that have a goal.
fn sizes() -> Result<Vec<Figure>> {
    let bytes = |shape: [usize; 3], dtype, codec| -> Result<f64> {
        let tensor = encode_f32(&hidden_states(shape), &shape, dtype, codec)?;
        Ok(tensor.buffer.len() as f64)
    };
    let implied = Compression::Blockwise8Implied;
    let chunk = bytes(CHUNK, DType::F32, implied)? / bytes(CHUNK, DType::F32, Compression::None)?;
    let token = bytes(TOKEN, DType::BF16, implied)? / bytes(TOKEN, DType::BF16, Compression::None)?;
    Ok(vec![
        Figure::new(
            BENCH,
            "bytes of [1, 128, 4096] in blockwise8-implied",
            Spread::exact(chunk),
            "x float32",
        )
        .with_goal(Goal::AtMost(0.27)),
        Figure::new(
            BENCH,
            "bytes of [1, 1, 256] in blockwise8-implied",
            Spread::exact(token),
            "x bfloat16",
        )
        .with_goal(Goal::AtMost(1.0)),
    ])
}
