//! Loading from a directory: only what a span needs, and errors that say who must act.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use block_model::{
    BlockSpan, CandleSpan, ClientHead, ComputeDevice, LoadError, ModelSource, SpanDType,
};
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::engine::{Span, load_span};
use crate::support::{Golden, States, fable_path, forward, load, tiny_path};

const FIRST_SHARD: &str = "model-00001-of-00002.safetensors";
const SECOND_SHARD: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A copy of tiny-llama that a test may damage.
struct Copy(TempDir);

impl Copy {
    fn new() -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        for file in ["config.json", INDEX, FIRST_SHARD, SECOND_SHARD] {
            fs::copy(tiny_path().join(file), copy.path(file)).unwrap();
        }
        copy
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.path(file)).unwrap();
    }

    fn edit_json(&self, file: &str, edit: impl Fn(&mut Value)) {
        let mut value =
            serde_json::from_str(&fs::read_to_string(self.path(file)).unwrap()).unwrap();
        edit(&mut value);
        fs::write(self.path(file), value.to_string()).unwrap();
    }

    fn edit_bytes(&self, file: &str, edit: impl Fn(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(file)).unwrap();
        edit(&mut bytes);
        fs::write(self.path(file), bytes).unwrap();
    }

    /// Replaces both shards by one file of these tensors.
    fn write_single(&self, tensors: &Tensors) {
        let views = tensors.0.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, &self.path("model.safetensors")).unwrap();
        for file in [INDEX, FIRST_SHARD, SECOND_SHARD] {
            let _ = fs::remove_file(self.path(file));
        }
    }

    fn load(&self, blocks: Range<usize>) -> Result<Span, LoadError> {
        let source = ModelSource::directory(self.0.path())?;
        load_span(&source, blocks, SpanDType::F32)
    }

    /// Loads, expects a failure, and checks that its text holds every one of `parts`.
    fn assert_fails(&self, blocks: Range<usize>, parts: &[&str]) -> LoadError {
        let error = self.load(blocks).unwrap_err();
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
        error
    }
}

/// Tensors in memory: name to dtype, shape, bytes.
struct Tensors(BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn tiny() -> Self {
        let mut tensors = BTreeMap::new();
        for shard in [FIRST_SHARD, SECOND_SHARD] {
            let bytes = fs::read(tiny_path().join(shard)).unwrap();
            for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
                let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                tensors.insert(name.to_owned(), tensor);
            }
        }
        Self(tensors)
    }

    fn convert(&mut self, dtype: Dtype, convert: impl Fn(f32) -> Vec<u8>) {
        for tensor in self.0.values_mut() {
            let values = tensor.2.as_chunks::<4>().0.iter();
            let bytes = values
                .flat_map(|bytes| convert(f32::from_le_bytes(*bytes)))
                .collect();
            (tensor.0, tensor.2) = (dtype, bytes);
        }
    }

    /// Adds a bias with one value throughout.
    fn add_bias(&mut self, projection: &str, value: f32) {
        let outputs = self.0[&format!("{projection}.weight")].1[0];
        let bytes = value.to_le_bytes().repeat(outputs);
        self.0.insert(
            format!("{projection}.bias"),
            (Dtype::F32, vec![outputs], bytes),
        );
    }
}

fn output(span: &mut Span, blocks: Range<usize>) -> States {
    forward(span, blocks, &States::noise([1, 5, 64], 0))
}

#[test]
fn only_the_shard_of_the_span_is_needed() {
    let copy = Copy::new();
    copy.remove(SECOND_SHARD);
    let mut span = copy.load(0..2).unwrap();
    let mut whole = load(&tiny_path(), 0..4, SpanDType::F32);
    assert_eq!(output(&mut span, 0..2), output(&mut whole, 0..2));

    let error = copy.assert_fails(1..3, &[SECOND_SHARD, "layers.2", "fetch"]);
    assert!(matches!(error, LoadError::MissingShard { .. }));

    let copy = Copy::new();
    copy.remove(FIRST_SHARD);
    let mut span = copy.load(3..4).unwrap();
    assert_eq!(output(&mut span, 3..4), output(&mut whole, 3..4));
    copy.assert_fails(0..1, &[FIRST_SHARD]);
}

#[test]
fn damaged_tensors_of_other_blocks_do_not_matter() {
    let copy = Copy::new();
    copy.edit_bytes(FIRST_SHARD, |bytes| {
        // The first tensor, the embeddings, is the client's.
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..8 + header + 66_560].fill(0xff);
    });
    let mut whole = load(&tiny_path(), 0..4, SpanDType::F32);
    let mut span = copy.load(0..4).unwrap();
    assert_eq!(output(&mut span, 0..4), output(&mut whole, 0..4));
}

#[test]
fn a_damaged_file_is_named() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 7] = [
        ("cut in the tensors", |bytes| {
            bytes.truncate(bytes.len() - 1)
        }),
        ("cut in the header", |bytes| bytes.truncate(100)),
        ("cut in the length", |bytes| bytes.truncate(5)),
        ("empty", Vec::clear),
        ("an absurd length", |bytes| bytes[..8].fill(0xff)),
        ("no header", |bytes| bytes[8..40].fill(b'#')),
        ("an error page", |bytes| {
            *bytes = b"<html>not found</html>".to_vec()
        }),
    ];
    for (what, damage) in damages {
        let copy = Copy::new();
        copy.edit_bytes(FIRST_SHARD, damage);
        let error = copy.assert_fails(0..1, &[FIRST_SHARD, "delete it"]);
        assert!(
            matches!(error, LoadError::Damaged { .. }),
            "{what}: {error}"
        );
    }
}

#[test]
fn a_damaged_index_is_named() {
    let copy = Copy::new();
    copy.edit_bytes(INDEX, |bytes| bytes.truncate(200));
    copy.assert_fails(0..1, &[INDEX]);
    let copy = Copy::new();
    copy.edit_json(INDEX, |index| {
        index["weight_map"]["lm_head.weight"] = json!("../elsewhere")
    });
    copy.assert_fails(0..1, &[INDEX, "../elsewhere"]);
}

#[test]
fn a_tensor_that_does_not_fit_the_configuration_is_named() {
    let copy = Copy::new();
    copy.edit_json("config.json", |config| {
        config["intermediate_size"] = json!(96)
    });
    let error = copy.assert_fails(
        0..1,
        &[FIRST_SHARD, "mlp.gate_proj", "[128, 64]", "[96, 64]"],
    );
    assert!(matches!(error, LoadError::WrongShape { .. }));

    let copy = Copy::new();
    copy.edit_json(INDEX, |index| {
        let map = index["weight_map"].as_object_mut().unwrap();
        map.remove("model.layers.1.mlp.up_proj.weight");
    });
    let error = copy.assert_fails(0..2, &[INDEX, "model.layers.1.mlp.up_proj.weight"]);
    assert!(matches!(error, LoadError::MissingTensor { .. }));
    assert!(copy.load(0..1).is_ok());

    let copy = Copy::new();
    let mut tensors = Tensors::tiny();
    tensors.0.remove("model.layers.0.self_attn.q_proj.weight");
    copy.write_single(&tensors);
    copy.assert_fails(0..1, &["model.safetensors", "self_attn.q_proj"]);
}

#[test]
fn a_quantized_tensor_is_refused() {
    let copy = Copy::new();
    let mut tensors = Tensors::tiny();
    let name = "model.layers.0.mlp.up_proj.weight";
    tensors.0.insert(
        name.to_owned(),
        (Dtype::I8, vec![128, 64], vec![0; 128 * 64]),
    );
    copy.write_single(&tensors);
    copy.assert_fails(0..1, &[name, "I8", "BF16"]);
}

#[test]
fn blocks_outside_the_model_are_refused_with_its_size() {
    let copy = Copy::new();
    for blocks in [0..5, 4..5, 2..2, 7..9] {
        let error = copy.assert_fails(blocks, &["4 blocks", "0:4"]);
        assert!(matches!(error, LoadError::BlocksOutsideModel { .. }));
    }
}

#[test]
fn a_directory_that_is_no_model_is_refused() {
    let copy = Copy::new();
    copy.edit_json("config.json", |config| {
        config["architectures"] = json!(["GPT2LMHeadModel"])
    });
    copy.assert_fails(
        0..1,
        &["config.json", "GPT2LMHeadModel", "LlamaForCausalLM"],
    );
    copy.remove("config.json");
    copy.assert_fails(0..1, &["config.json", "not found"]);

    let copy = Copy::new();
    copy.remove(INDEX);
    copy.assert_fails(0..1, &["model.safetensors", "not found"]);
    assert!(ModelSource::directory("/nonexistent").is_err());
}

#[test]
fn every_checkpoint_dtype_is_read() {
    let mut whole = load(&tiny_path(), 0..4, SpanDType::F32);
    let expected = output(&mut whole, 0..4);

    let copy = Copy::new();
    let mut tensors = Tensors::tiny();
    copy.write_single(&tensors);
    assert_eq!(output(&mut copy.load(0..4).unwrap(), 0..4), expected);

    tensors.convert(Dtype::F16, |value| {
        f16::from_f32(value).to_le_bytes().to_vec()
    });
    copy.write_single(&tensors);
    let mut span = copy.load(0..4).unwrap();
    assert_eq!(span.description().checkpoint_dtype, SpanDType::F16);
    assert!(output(&mut span, 0..4).relative_rms(&expected) < 2e-3);

    let mut tensors = Tensors::tiny();
    tensors.convert(Dtype::BF16, |value| {
        bf16::from_f32(value).to_le_bytes().to_vec()
    });
    copy.write_single(&tensors);
    let mut span = copy.load(0..4).unwrap();
    assert_eq!(span.description().checkpoint_dtype, SpanDType::BF16);
    // Four blocks of random weights that each lost all but 8 bits.
    let error = output(&mut span, 0..4).relative_rms(&expected);
    assert!(error < 0.03, "{error}");
}

#[test]
fn biases_are_honoured() {
    let projections =
        ["q_proj", "k_proj", "v_proj", "o_proj"].map(|name| format!("self_attn.{name}"));
    let projections = projections.into_iter();
    let mlp = ["gate_proj", "up_proj", "down_proj"].map(|name| format!("mlp.{name}"));
    let names: Vec<_> = projections
        .chain(mlp)
        .map(|name| format!("model.layers.0.{name}"))
        .collect();
    let mut plain = load(&tiny_path(), 0..1, SpanDType::F32);
    let plain = output(&mut plain, 0..1);
    let with_bias = |biased: Option<&str>| {
        let copy = Copy::new();
        copy.edit_json("config.json", |config| {
            config["attention_bias"] = json!(true);
            config["mlp_bias"] = json!(true);
        });
        let mut tensors = Tensors::tiny();
        for name in &names {
            tensors.add_bias(name, if biased == Some(name) { 0.5 } else { 0.0 });
        }
        copy.write_single(&tensors);
        let mut span = copy.load(0..1).unwrap();
        let biases = 2 * 64 + 2 * 32 + 2 * 128 + 64;
        let expected_bytes = (whole_weight_bytes() + biases) as u64;
        assert_eq!(span.description().weight_bytes / 4, expected_bytes);
        output(&mut span, 0..1)
    };
    assert_eq!(with_bias(None), plain);
    for name in &names {
        let changed = with_bias(Some(name));
        // The same bias for all keys of a query head cancels out only before rotation.
        let distance = changed.max_distance(&plain);
        assert!(distance > 1e-5, "{name}: {distance}");
    }
    let mut shifted = plain.clone();
    shifted.values.iter_mut().for_each(|value| *value += 0.5);
    let down = with_bias(Some("model.layers.0.mlp.down_proj"));
    assert!(down.max_distance(&shifted) < 1e-5);

    let copy = Copy::new();
    copy.edit_json("config.json", |config| config["mlp_bias"] = json!(true));
    copy.assert_fails(0..1, &["mlp.gate_proj.bias"]);
}

/// Values of one block of tiny-llama without biases.
fn whole_weight_bytes() -> usize {
    2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64
}

#[test]
fn a_description_says_what_is_held() {
    let span = load(&fable_path(), 2..5, SpanDType::BF16);
    let description = span.description();
    assert_eq!(description.blocks, 2..5);
    assert_eq!(
        (
            description.hidden,
            description.kv_heads,
            description.head_dim
        ),
        (256, 2, 64)
    );
    assert_eq!(description.dtype, SpanDType::BF16);
    assert_eq!(description.checkpoint_dtype, SpanDType::BF16);
    assert_eq!(description.compute_dtype, SpanDType::BF16);
    assert!(!description.weights_are_widened());
    assert_eq!(description.device, "cpu");
    assert_eq!(description.kv_bytes_per_token_per_block, 2 * 2 * 64 * 2);
    assert_eq!(description.kv_page_tokens, 64);
    // Two norms of 256 in single precision, the rest in bf16.
    assert_eq!(description.weight_bytes, 3 * (512 * 4 + 786_432 * 2));
}

#[test]
fn a_head_needs_only_its_own_tensors() {
    let copy = Copy::new();
    copy.edit_json(INDEX, |index| {
        let map = index["weight_map"].as_object_mut().unwrap();
        map.retain(|name, _| !name.contains("layers"));
    });
    let source = ModelSource::directory(copy.0.path()).unwrap();
    let head = ClientHead::load(&source).unwrap();
    assert_eq!((head.hidden(), head.vocab()), (64, 260));
    let golden = Golden::read(&tiny_path());
    assert_eq!(
        head.embed(&golden.ids()).unwrap(),
        golden.input_of(0).values
    );

    copy.remove(SECOND_SHARD);
    let message = ClientHead::load(&source).unwrap_err().to_string();
    assert!(message.contains(SECOND_SHARD), "{message}");
    assert_eq!(
        source.name(),
        Path::new(copy.0.path()).display().to_string()
    );
}

#[test]
fn a_device_that_is_not_built_in_is_refused() {
    let source = ModelSource::directory(tiny_path()).unwrap();
    let refused = CandleSpan::load(&source, 0..1, SpanDType::BF16, ComputeDevice::Cuda(0));
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("cuda:0"), "{message}");
}
