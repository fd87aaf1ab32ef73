//! Tensor codecs and parts against bytes captured from the reference (hivemind 1.1.12, Petals
//! main, bitsandbytes 0.45.5).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fixture that does not parse is a failed test"
)]

mod support;

use block_protocol::{
    Compression, DType, ExpertRequest, ExpertResponse, WireTensor,
    compression::{decode_f32, decode_i64, encode_f32, encode_i64},
    frame::{StreamDecoder, StreamFrame},
    limits::MAX_STREAM_FRAME_BYTES,
    parts::{Joiner, split},
};
use bytes::BytesMut;
use support::{vector, vectors};

const HIVEMIND: &str = "python_serialization";
const PETALS: &str = "petals_calls_to_python_server";

/// A captured entry: the tensor and the note that says what Python made of it.
struct Golden {
    tensor: WireTensor,
    note: String,
}

impl Golden {
    fn load(file: &str, name: &str) -> Self {
        let vector = vector(file, name);
        // A tensor never travels alone: make it field 2 of a response.
        let mut body = vec![0x12];
        prost::encoding::encode_varint(vector.bytes.len() as u64, &mut body);
        body.extend(vector.bytes);
        let mut response = ExpertResponse::decode(body.into()).unwrap();
        Self {
            tensor: response.tensors.remove(0),
            note: vector.decoded,
        }
    }

    fn hivemind(name: &str) -> Self {
        Self::load(HIVEMIND, name)
    }

    fn petals(number: i32) -> WireTensor {
        Self::load(PETALS, &format!("petals.tensor.compression{number}")).tensor
    }

    /// The flat list that follows `key=` in the note; True is 1.
    fn list(&self, key: &str) -> Vec<f64> {
        let (_, rest) = self.note.split_once(&format!("{key}=[")).unwrap();
        let mut depth = 1;
        let end = rest.find(|c| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            depth == 0
        });
        rest[..end.unwrap()]
            .split([',', '[', ']'])
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(|word| match word {
                "True" => 1.0,
                "False" => 0.0,
                number => number.parse().unwrap(),
            })
            .collect()
    }

    fn floats(&self, key: &str) -> Vec<f32> {
        self.list(key).into_iter().map(|x| x as f32).collect()
    }
}

#[test]
fn uncompressed_floats() {
    for (name, dtype) in [("float32", DType::F32), ("float16", DType::F16)] {
        let golden = Golden::hivemind(&format!("tensor.none.{name}"));
        assert_eq!(golden.tensor.dtype, dtype);
        let values = decode_f32(&golden.tensor).unwrap();
        assert_eq!(values, golden.floats("values"), "{name}");
        let encoded = encode_f32(&values, &[2, 4], dtype, Compression::None).unwrap();
        assert_eq!(encoded, golden.tensor, "{name}");
    }
}

#[test]
fn bfloat16_is_read_in_both_forms_and_written_raw() {
    let raw = Golden::hivemind("tensor.bf16.raw");
    let legacy = Golden::hivemind("tensor.bf16.legacy_f32");
    assert_eq!(legacy.tensor.buffer.len(), 2 * raw.tensor.buffer.len());
    let values = decode_f32(&raw.tensor).unwrap();
    assert_eq!(values, raw.floats("values"));
    assert_eq!(decode_f32(&legacy.tensor).unwrap(), values);
    let encoded = encode_f32(&values, &[2, 4], DType::BF16, Compression::None).unwrap();
    assert_eq!(encoded, raw.tensor);
}

#[test]
fn integers_and_booleans() {
    for name in ["int64", "uint8", "bool"] {
        let golden = Golden::hivemind(&format!("tensor.none.{name}"));
        assert_eq!(golden.tensor.dtype.name(), name);
        let values = decode_i64(&golden.tensor).unwrap();
        let expected: Vec<i64> = golden
            .list("values")
            .into_iter()
            .map(|x| x as i64)
            .collect();
        assert_eq!(values, expected, "{name}");
        if name == "int64" {
            assert_eq!(encode_i64(&values, &[2, 4]).unwrap(), golden.tensor);
        }
    }
}

/// Every lossy codec, from float32 and from float16: same numbers out, same bytes in.
#[test]
fn lossy_codecs() {
    let codecs = [
        ("FLOAT16", Compression::Float16),
        ("MEANSTD_16BIT", Compression::MeanStd16),
        ("QUANTILE_8BIT", Compression::Quantile8),
        ("UNIFORM_8BIT", Compression::Uniform8),
    ];
    for (codec, compression) in codecs {
        for dtype in [DType::F32, DType::F16] {
            let name = format!("tensor.{codec}.{}", dtype.name());
            let golden = Golden::hivemind(&name);
            assert_eq!(golden.tensor.compression, compression);
            let decoded = decode_f32(&golden.tensor).unwrap();
            // The reference rounds MEANSTD_16BIT to float16 twice, after the product and after
            // the sum; we do so once. One step of float16 at the row's largest value, 100.
            let twice_rounded = codec == "MEANSTD_16BIT" && dtype == DType::F16;
            let tolerance = if twice_rounded { 0.0625 } else { 0.0 };
            let error = largest_error(&decoded, &golden.floats("extracted"));
            assert!(error <= tolerance, "{name}: {decoded:?}");
            let input = golden.floats("input");
            let encoded = encode_f32(&input, &[2, 4], dtype, golden.tensor.compression);
            assert_eq!(encoded.unwrap(), golden.tensor, "{name}");
        }
    }
}

#[test]
fn blockwise() {
    let golden = Golden::hivemind("tensor.BLOCKWISE_8BIT.f32");
    let decoded = decode_f32(&golden.tensor).unwrap();
    assert_eq!(decoded, golden.floats("extracted"));
    let input: Vec<f32> = (0..8_u8).map(|i| -3.0 + f32::from(i) * 6.0 / 7.0).collect();
    let encoded = encode_f32(&input, &[8], DType::F32, Compression::Blockwise8).unwrap();
    assert_eq!(encoded, golden.tensor);
}

#[test]
fn blockwise_has_one_scale_per_4096_elements() {
    let head = vector(HIVEMIND, "tensor.BLOCKWISE_8BIT.f32.5000.head").bytes;
    let input: Vec<f32> = (0..5000_u16)
        .map(|i| if i % 4999 == 0 { -3.0 } else { 2.5 })
        .collect();
    let encoded = encode_f32(&input, &[5000], DType::F32, Compression::Blockwise8).unwrap();
    assert_eq!(encoded.buffer.len(), 6048);
    assert_eq!(encoded.buffer[..head.len()], head);
}

/// The golden tensor without its counts and its code.
#[test]
fn an_implied_code_leaves_the_counts_and_the_code_out() {
    let golden = Golden::hivemind("tensor.BLOCKWISE_8BIT.f32");
    let input: Vec<f32> = (0..8_u8).map(|i| -3.0 + f32::from(i) * 6.0 / 7.0).collect();
    let encoded = encode_f32(&input, &[8], DType::F32, Compression::Blockwise8Implied).unwrap();
    let buffer = &golden.tensor.buffer;
    assert_eq!(encoded.compression.number(), 69);
    assert_eq!(
        encoded.buffer,
        [&buffer[16..20], &buffer[20 + 1024..]].concat()
    );
    assert_eq!(decode_f32(&encoded).unwrap(), golden.floats("extracted"));
}

/// One token of the embedded model, and a prompt at the width of an 8B model.
#[test]
fn an_implied_code_is_smaller_than_bf16_for_one_token_and_a_quarter_of_float32() {
    let bytes = |numel: usize, dtype, compression| {
        let values = vec![1.0; numel];
        let tensor = encode_f32(&values, &[1, 1, numel], dtype, compression).unwrap();
        tensor.buffer.len()
    };
    assert_eq!(bytes(256, DType::BF16, Compression::None), 512);
    assert_eq!(bytes(256, DType::BF16, Compression::Blockwise8), 1300);
    assert_eq!(bytes(256, DType::BF16, Compression::Blockwise8Implied), 260);
    let chunk = bytes(128 * 4096, DType::F32, Compression::Blockwise8Implied);
    assert!(chunk * 100 <= 128 * 4096 * 4 * 27);
}

#[test]
fn the_blockwise_code_is_the_one_bitsandbytes_sends() {
    let code: Vec<f64> =
        serde_json::from_str(include_str!("fixtures/bnb_dynamic_map_256.json")).unwrap();
    let encoded = encode_f32(&[1.0], &[1], DType::F32, Compression::Blockwise8).unwrap();
    let sent = read_f32(&encoded.buffer[20..20 + 1024]);
    assert_eq!(sent, code.into_iter().map(|x| x as f32).collect::<Vec<_>>());
}

/// A Petals server's output of one forward pass, asked for under each `output_compression`.
#[test]
fn petals_outputs_decode_close_to_the_uncompressed_one() {
    let exact = decode_f32(&Golden::petals(0)).unwrap();
    // Largest magnitude 2.9, 320 elements. Half floats: 2⁻¹¹ relative. Buckets: the widest one.
    for (number, tolerance) in [(1, 2e-3), (2, 1e-3), (3, 0.2)] {
        let decoded = decode_f32(&Golden::petals(number)).unwrap();
        let error = largest_error(&exact, &decoded);
        assert!(error < tolerance, "compression {number}: {error}");
    }
}

/// Re-encoding the uncompressed output gives the reference's own bytes.
#[test]
fn petals_outputs_encode_to_the_same_bytes() {
    let exact = decode_f32(&Golden::petals(0)).unwrap();
    for number in [2, 3] {
        let golden = Golden::petals(number);
        let encoded = encode_f32(&exact, &golden.shape, golden.dtype, golden.compression);
        assert_eq!(encoded.unwrap(), golden, "compression {number}");
    }
}

/// All but the means, which torch sums in single precision: ours differ in their last bits.
#[test]
fn petals_mean_std_output_encodes_to_the_same_elements() {
    let exact = decode_f32(&Golden::petals(0)).unwrap();
    let golden = Golden::petals(1);
    let ours = encode_f32(&exact, &golden.shape, golden.dtype, golden.compression).unwrap();
    let (elements, means, stds) = (0..640, 640..660, 660..680);
    assert_eq!(ours.buffer[elements.clone()], golden.buffer[elements]);
    assert_eq!(ours.buffer[stds.clone()], golden.buffer[stds]);
    let [ours, theirs] = [&ours, &golden].map(|tensor| read_f32(&tensor.buffer[means.clone()]));
    assert!(largest_error(&ours, &theirs) < 1e-7);
}

/// Petals encodes UNIFORM_8BIT in place, so its codebook lacks the tensor's mean. Ours has it;
/// the buckets agree.
#[test]
fn petals_uniform_differs_by_the_mean_alone() {
    let exact = decode_f32(&Golden::petals(0)).unwrap();
    let golden = Golden::petals(4);
    let ours = encode_f32(&exact, &golden.shape, golden.dtype, golden.compression).unwrap();
    let indices = 8 + 1024;
    assert_eq!(ours.buffer[indices..], golden.buffer[indices..]);
    let mean = exact.iter().sum::<f32>() / exact.len() as f32;
    let theirs: Vec<f32> = decode_f32(&golden)
        .unwrap()
        .iter()
        .map(|x| x + mean)
        .collect();
    assert!(largest_error(&decode_f32(&ours).unwrap(), &theirs) < 1e-6);
}

#[test]
fn parts_as_the_reference_cuts_them() {
    let golden =
        [0, 1].map(|i| Golden::hivemind(&format!("split_for_streaming.20B.part{i}")).tensor);
    let whole = Golden::hivemind("tensor.none.float32").tensor;
    assert_eq!(split(whole.clone(), 20), golden);

    let mut joiner = Joiner::new(1024);
    for part in golden {
        assert_eq!(joiner.push(part).unwrap(), None);
    }
    let joined = joiner.finish().unwrap();
    assert_eq!(joined.chunks, 2);
    assert_eq!(joined.buffer, whole.buffer);
    assert_eq!(decode_f32(&joined).unwrap(), decode_f32(&whole).unwrap());
}

/// The client's 700-byte slices of one activation and an absent argument.
#[test]
fn petals_stream_parts_join_to_the_tensors_of_the_call() {
    let frames = vectors(PETALS).into_iter().filter(|vector| {
        vector
            .name
            .starts_with("petals.rpc_forward_stream.request_part")
    });
    let mut joiner = Joiner::new(4096);
    let mut joined = Vec::new();
    for frame in frames {
        let mut decoder = StreamDecoder::new(MAX_STREAM_FRAME_BYTES);
        let mut bytes = BytesMut::from(&frame.bytes[..]);
        let Some(StreamFrame::Message(body)) = decoder.decode(&mut bytes).unwrap() else {
            panic!("{} is no message", frame.name);
        };
        for part in ExpertRequest::decode(body).unwrap().tensors {
            joined.extend(joiner.push(part).unwrap());
        }
    }
    joined.extend(joiner.finish());
    let [hidden_states, prompts] = &joined[..] else {
        panic!("{joined:?}");
    };
    assert_eq!(hidden_states.shape, [1, 5, 64]);
    assert_eq!(decode_f32(hidden_states).unwrap().len(), 320);
    assert!(prompts.is_dummy());
}

fn largest_error(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let errors = left.iter().zip(right).map(|(l, r)| (l - r).abs());
    errors.fold(0.0, f32::max)
}

fn read_f32(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.chunks_exact(4);
    words
        .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
        .collect()
}
