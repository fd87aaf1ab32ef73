//! Models of transformers, converted in memory as llama.cpp's converters do it, read back by transformers' names.

mod conversion;

use half::f16;
use serde_json::Value as Json;

use crate::config::{Positions, RopeScaling};
use crate::dtype::SpanDType;
use crate::families;
use crate::source::gguf::kind::GgufKind;
use crate::source::gguf::test_file::TestFile;
use crate::source::{Checkpoint, ModelSource};

use conversion::*;

const FIXTURES: [&str; 12] = [
    "tiny-llama",
    "tiny-mistral",
    "tiny-mixtral",
    "tiny-qwen2",
    "tiny-qwen3",
    "tiny-qwen3-moe",
    "tiny-gemma2",
    "tiny-gemma3",
    "tiny-phi3",
    "tiny-falcon",
    "tiny-falcon7",
    "tiny-bloom",
];

#[test]
fn every_tensor_of_every_architecture_comes_back() {
    for fixture in FIXTURES {
        let Pair {
            folder,
            file,
            tensors,
        } = converted(fixture);
        let config = folder.config();
        let wanted: Vec<String> = (0..config.num_blocks)
            .flat_map(|block| families::block(config, block).tensor_names())
            .chain(families::ends(config).tensor_names())
            .collect();
        let checkpoint = Checkpoint::open(&file, &wanted).unwrap();
        for name in &wanted {
            let (shape, expected) = &tensors[name];
            let found = checkpoint.read(name, shape).unwrap();
            // A norm to which 1 was added has lost its last bits.
            let tolerance = if name.contains("norm") { 2e-7 } else { 0.0 };
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= tolerance, "{fixture} {name}");
            }
            if let [rows, width] = shape[..] {
                let matrix = checkpoint.rows(name, [rows, width]).unwrap();
                let mut values = vec![0.0; width];
                matrix.read(rows / 3, &mut values);
                assert_eq!(
                    values,
                    expected[rows / 3 * width..][..width],
                    "{fixture} {name}"
                );
            }
        }
    }
}

#[test]
fn every_configuration_comes_back() {
    for fixture in FIXTURES {
        let Pair { folder, file, .. } = converted(fixture);
        let (mut expected, found) = (folder.config().clone(), file.config());
        // From the reciprocal root in single precision.
        assert!(
            (expected.attention_scale - found.attention_scale).abs() < 1e-7,
            "{fixture}"
        );
        expected.attention_scale = found.attention_scale;
        if ["tiny-llama", "tiny-phi3"].contains(&fixture) {
            expected.positions = found.positions.clone();
        }
        assert_eq!(&expected, found, "{fixture}");
    }
}

#[test]
fn lists_of_rotary_factors_come_from_tensors() {
    let scaling = |source: &ModelSource| match &source.config().positions {
        Positions::Rotary { full, .. } => full.scaling.clone(),
        Positions::Alibi { .. } => unreachable!("all of these have rotary positions"),
    };
    let llama = converted("tiny-llama");
    assert_eq!(
        scaling(&llama.file),
        RopeScaling::LongRope {
            short_factor: vec![1.1; 8],
            long_factor: vec![1.1; 8],
            original_positions: llama.folder.config().max_positions,
            attention_factor: 1.0,
        }
    );
    let phi = converted("tiny-phi3");
    let (mut expected, found) = (scaling(&phi.folder), scaling(&phi.file));
    let factors = (&mut expected, &found);
    let (
        RopeScaling::LongRope {
            attention_factor: expected_factor,
            ..
        },
        RopeScaling::LongRope {
            attention_factor, ..
        },
    ) = factors
    else {
        unreachable!("both are longrope");
    };
    assert!((*expected_factor - attention_factor).abs() < 1e-6);
    *expected_factor = *attention_factor;
    assert_eq!(expected, found);
}

/// fable-cut2 as halves is not stored here: its blocks are the first two of fable-7m.
#[test]
fn halves_of_the_embedded_model_come_back() {
    let folder = crate_path("../models/fable-7m");
    let names: Json = serde_json::from_str(NAMES).unwrap();
    let mut tensors = tensors(&folder);
    tensors
        .retain(|name, _| !name.starts_with("model.layers.") || name[13..].starts_with(['0', '1']));
    let source = ModelSource::directory(&folder).unwrap();
    let mut file = TestFile::new();
    add_metadata(&mut file, source.config(), "llama");
    let stored = |name: &str| {
        names["tiny-llama"]["names"][name]
            .as_str()
            .unwrap()
            .to_owned()
    };
    add_tensors(
        &mut file,
        source.config(),
        "llama",
        &tensors,
        stored,
        GgufKind::F16,
    );
    let file = open(&file);
    assert_eq!(file.config().dtype, Some(SpanDType::F16));
    let wanted: Vec<String> = tensors.keys().cloned().collect();
    let checkpoint = Checkpoint::open(&file, &wanted).unwrap();
    for (name, (shape, values)) in &tensors {
        let found = checkpoint.read(name, shape).unwrap();
        let expected = values.iter().map(|value| match shape.len() {
            1 => *value,
            _ => f16::from_f32(*value).to_f32(),
        });
        assert!(found.iter().copied().eq(expected), "{name}");
    }
}

#[test]
fn what_is_not_supported_is_refused_with_advice() {
    let refused = |named: &str, change: &dyn Fn(&mut TestFile)| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.gguf");
        let mut file = TestFile::new();
        change(&mut file);
        std::fs::write(&path, file.bytes()).unwrap();
        let error = ModelSource::gguf(&path).unwrap_err().to_string();
        assert!(
            error.contains(named) && error.contains("model.gguf"),
            "{error}"
        );
    };
    refused("general.architecture", &|_| {});
    refused("supported: llama, qwen2", &|file| {
        file.text("general.architecture", "mamba")
    });
    refused("llama-gguf-split", &|file| {
        file.text("general.architecture", "llama");
        file.u32("split.count", 3);
    });
    refused("head_count", &|file| {
        file.text("general.architecture", "llama")
    });
    refused("head_count_kv", &|file| {
        file.text("general.architecture", "llama");
        file.u32("llama.attention.head_count", 4);
        file.u32("llama.attention.head_count_kv", 3);
    });
    refused("token_embd.weight", &|file| {
        file.text("general.architecture", "llama");
        file.u32("llama.attention.head_count", 4);
    });
    refused("block_count", &|file| {
        file.text("general.architecture", "llama");
        file.u32("llama.attention.head_count", 4);
        file.u32("llama.embedding_length", 8);
        file.singles("token_embd.weight", &[4, 8], &[0.0; 32]);
    });
}

/// What gguf-py makes of a file's tensors: sums, and the first values of one row.
#[test]
fn all_weights_of_every_kind_are_the_reference_ones() {
    let golden = std::fs::read_to_string(crate_path("../models/fable-cut2/golden_tensors.json"));
    let golden: Json = serde_json::from_str(&golden.unwrap()).unwrap();
    for (file, tensors) in golden.as_object().unwrap() {
        let source = ModelSource::gguf(crate_path("../models/fable-cut2").join(file)).unwrap();
        let tensors = tensors.as_object().unwrap();
        let names: Vec<String> = tensors.keys().cloned().collect();
        let checkpoint = Checkpoint::open(&source, &names).unwrap();
        for (name, golden) in tensors {
            let shape: Vec<usize> = serde_json::from_value(golden["shape"].clone()).unwrap();
            let values = checkpoint.read(name, &shape).unwrap();
            let sum = |power: i32| {
                values
                    .iter()
                    .map(|value| f64::from(*value).powi(power))
                    .sum::<f64>()
            };
            let squares = golden["sum_of_squares"].as_f64().unwrap();
            // Sums of up to a million values, in another order.
            assert!((sum(2) / squares - 1.0).abs() < 1e-10, "{file} {name}");
            let difference = sum(1) - golden["sum"].as_f64().unwrap();
            assert!(
                difference.abs() < 1e-10 * (squares * values.len() as f64).sqrt(),
                "{file} {name}"
            );
            let row = match shape[..] {
                [rows, width] => &values[rows / 3 * width..],
                _ => &values[..],
            };
            let first: Vec<f32> =
                serde_json::from_value(golden["first_of_row_at_a_third"].clone()).unwrap();
            assert_eq!(row[..4], first, "{file} {name}");
        }
    }
}
