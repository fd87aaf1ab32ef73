//! Bytes on the wire.

use block_protocol::compression::encode_f32;
use block_protocol::{Compression, DType};

/// A chunk of a prompt of a model with 4096 wide hidden states.
const CHUNK: [usize; 3] = [1, 128, 4096];

/// Of the same chunk in float32.
const MAX_SHARE: f64 = 0.27;

#[test]
fn a_chunk_in_8_bits_is_about_a_quarter_of_float32() {
    let values: Vec<f32> = (0..CHUNK.iter().product::<usize>())
        .map(|i| ((i * 37 % 2003) as f32 - 1001.0) / 97.0)
        .collect();
    let bytes = |codec: Compression| {
        let tensor = encode_f32(&values, &CHUNK, DType::F32, codec).unwrap();
        tensor.buffer.len() as f64
    };
    let float32 = bytes(Compression::None);
    for codec in Compression::ALL {
        if codec.name().starts_with("blockwise8") {
            let share = bytes(codec) / float32;
            assert!(share <= MAX_SHARE, "{}: {share} of float32", codec.name());
        }
    }
}
