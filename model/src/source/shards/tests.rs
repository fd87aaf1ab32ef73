//! Packed matrices made here from known integers, read back as floats and as integers.

use std::collections::BTreeMap;

use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::kernels::format::Format;
use crate::kernels::quantized_row::QuantizedRow;
use crate::source::{Checkpoint, ModelSource, TensorRows};

const WEIGHT: &str = "model.layers.0.mlp.up_proj.weight";
const STEM: &str = "model.layers.0.mlp.up_proj";

const INPUTS: usize = 64;
const OUTPUTS: usize = 24;
const GROUP: usize = 32;

/// A folder with a configuration and tensors of which most are parts of one matrix.
#[derive(Default)]
struct Folder(BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl Folder {
    fn add(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
        let name = format!("{STEM}.{name}");
        self.0.insert(name, (dtype, shape.to_vec(), bytes));
    }

    fn words(&mut self, name: &str, shape: [usize; 2], word: impl Fn(usize, usize) -> u32) {
        let places = (0..shape[0]).flat_map(|row| (0..shape[1]).map(move |column| (row, column)));
        let bytes = places.flat_map(|(row, column)| word(row, column).to_le_bytes());
        self.add(name, Dtype::I32, &shape, bytes.collect());
    }

    fn halves(&mut self, name: &str, shape: &[usize], values: impl Iterator<Item = f32>) {
        let bytes = values.flat_map(|value| f16::from_f32(value).to_le_bytes());
        self.add(name, Dtype::F16, shape, bytes.collect());
    }

    fn open(&self, quantization: &Json) -> Result<(TempDir, ModelSource), LoadError> {
        let directory = tempfile::tempdir().unwrap();
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 4, "intermediate_size": 24, "vocab_size": 8,
            "quantization_config": quantization,
        });
        std::fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
        let views = self.0.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let path = directory.path().join("model.safetensors");
        safetensors::serialize_to_file(views, None, &path).unwrap();
        let source = ModelSource::directory(directory.path())?;
        Ok((directory, source))
    }

    fn rows(&self, quantization: &Json) -> Result<TensorRows, LoadError> {
        let (_directory, source) = self.open(quantization)?;
        let checkpoint = Checkpoint::open(&source, &[WEIGHT.to_owned()])?;
        checkpoint.rows(WEIGHT, [OUTPUTS, INPUTS])
    }
}

/// What the matrices are made of.
fn integer(output: usize, input: usize) -> u32 {
    (output * 7 + input * 3 + input / 16) as u32 % 16
}

fn zero(group: usize, output: usize) -> u32 {
    (output * 5 + group * 3) as u32 % 16
}

fn scale(group: usize, output: usize) -> f32 {
    (1 + output + 8 * group) as f32 / 64.0
}

fn scales() -> impl Iterator<Item = f32> {
    (0..INPUTS / GROUP).flat_map(|group| (0..OUTPUTS).map(move |output| scale(group, output)))
}

/// Eight small integers in a word, the first lowest.
fn word(small: impl Fn(usize) -> u32) -> u32 {
    (0..8).fold(0, |word, place| word | small(place) << (4 * place))
}

/// As AutoGPTQ writes it; `group` says which group an input belongs to.
fn gptq(zero_offset: u32, group: impl Fn(usize) -> usize, has_list: bool) -> Folder {
    let mut folder = Folder::default();
    folder.words("qweight", [INPUTS / 8, OUTPUTS], |row, output| {
        word(|place| integer(output, row * 8 + place))
    });
    folder.words("qzeros", [INPUTS / GROUP, OUTPUTS / 8], |group, column| {
        word(|place| zero(group, column * 8 + place).wrapping_sub(zero_offset) & 15)
    });
    folder.halves("scales", &[INPUTS / GROUP, OUTPUTS], scales());
    if has_list {
        let list = (0..INPUTS).flat_map(|input| (group(input) as i32).to_le_bytes());
        folder.add("g_idx", Dtype::I32, &[INPUTS], list.collect());
    }
    folder
}

/// As AutoAWQ writes it.
fn awq() -> Folder {
    const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
    let mut folder = Folder::default();
    folder.words("qweight", [INPUTS, OUTPUTS / 8], |input, column| {
        word(|place| integer(column * 8 + ORDER[place], input))
    });
    folder.words("qzeros", [INPUTS / GROUP, OUTPUTS / 8], |group, column| {
        word(|place| zero(group, column * 8 + ORDER[place]))
    });
    folder.halves("scales", &[INPUTS / GROUP, OUTPUTS], scales());
    folder
}

fn gptq_config() -> Json {
    json!({"quant_method": "gptq", "bits": 4, "group_size": GROUP})
}

fn awq_config() -> Json {
    json!({"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm"})
}

/// Every row as floats, and as integers if these can be kept.
fn assert_rows(rows: &TensorRows, group: impl Fn(usize) -> usize, is_kept: bool) {
    assert_eq!(rows.format(), is_kept.then_some(Format::Int4Min));
    for output in 0..OUTPUTS {
        let mut values = [f32::NAN; INPUTS];
        rows.read(output, &mut values);
        let expected: [f32; INPUTS] = std::array::from_fn(|input| {
            let group = group(input);
            scale(group, output) * (integer(output, input) as f32 - zero(group, output) as f32)
        });
        assert_eq!(values, expected, "{output}");
        if !is_kept {
            continue;
        }
        let (mut integers, mut scales) = ([99; INPUTS], [f32::NAN; INPUTS / 16]);
        let mut minimums = [f32::NAN; INPUTS / 32];
        let mut row = QuantizedRow {
            integers: &mut integers,
            scales: &mut scales,
            minimums: &mut minimums,
        };
        rows.read_quantized(output, row.reborrow());
        row.weights(&mut values);
        assert_eq!(values, expected, "{output}");
        for (input, found) in integers.iter().enumerate() {
            assert_eq!(*found as u32, integer(output, input));
        }
    }
}

#[test]
fn gptq_is_read_as_it_was_written() {
    let in_turn = |input: usize| input / GROUP;
    for has_list in [true, false] {
        let rows = gptq(1, in_turn, has_list).rows(&gptq_config()).unwrap();
        assert_rows(&rows, in_turn, true);
    }
    let mut config = gptq_config();
    config["checkpoint_format"] = json!("gptq_v2");
    let rows = gptq(0, in_turn, true).rows(&config).unwrap();
    assert_rows(&rows, in_turn, true);
}

#[test]
fn inputs_of_scattered_groups_are_read_but_not_kept() {
    let scattered = |input: usize| input * 5 / 3 % 2;
    let mut config = gptq_config();
    config["desc_act"] = json!(true);
    let rows = gptq(1, scattered, true).rows(&config).unwrap();
    assert_rows(&rows, scattered, false);
}

#[test]
fn awq_is_read_as_it_was_written() {
    let rows = awq().rows(&awq_config()).unwrap();
    assert_rows(&rows, |input| input / GROUP, true);
}

#[test]
fn one_group_may_hold_all_inputs() {
    let mut folder = gptq(1, |_| 0, true);
    folder.words("qzeros", [1, OUTPUTS / 8], |_, column| {
        word(|place| zero(0, column * 8 + place).wrapping_sub(1) & 15)
    });
    folder.halves("scales", &[1, OUTPUTS], scales().take(OUTPUTS));
    let config = json!({"quant_method": "gptq", "bits": 4, "group_size": -1});
    assert_rows(&folder.rows(&config).unwrap(), |_| 0, true);
}

#[test]
fn a_packed_matrix_can_be_read_whole_and_says_the_type_of_its_scales() {
    let (_directory, source) = awq().open(&awq_config()).unwrap();
    let checkpoint = Checkpoint::open(&source, &[WEIGHT.to_owned()]).unwrap();
    assert_eq!(checkpoint.dtype(WEIGHT).unwrap(), SpanDType::F16);
    let values = checkpoint.read(WEIGHT, &[OUTPUTS, INPUTS]).unwrap();
    let expected = scale(0, 3) * (integer(3, 1) as f32 - zero(0, 3) as f32);
    assert_eq!(
        (values.len(), values[3 * INPUTS + 1]),
        (OUTPUTS * INPUTS, expected)
    );
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let in_turn = |input: usize| input / GROUP;
    let refused = |folder: &Folder, config: &Json, named: &str| {
        let error = folder.rows(config).unwrap_err().to_string();
        assert!(error.contains(named), "{named}: {error}");
    };
    let mut folder = gptq(1, in_turn, true);
    folder.words("qweight", [INPUTS / 8, OUTPUTS + 8], |_, _| 0);
    refused(&folder, &gptq_config(), "qweight has shape [8, 32]");
    let mut folder = gptq(1, in_turn, true);
    folder.halves(
        "qweight",
        &[INPUTS / 8, OUTPUTS],
        std::iter::repeat_n(0.0, 192),
    );
    refused(&folder, &gptq_config(), "qweight is F16");
    let mut folder = awq();
    folder.0.remove(&format!("{STEM}.qzeros"));
    refused(&folder, &awq_config(), "qzeros is missing");
    for group in [2, usize::MAX] {
        let folder = gptq(
            1,
            |input| if input == 9 { group } else { in_turn(input) },
            true,
        );
        refused(&folder, &gptq_config(), "none of 2");
    }
    let (_directory, source) = awq().open(&awq_config()).unwrap();
    let checkpoint = Checkpoint::open(&source, &[WEIGHT.to_owned()]).unwrap();
    for shape in [[OUTPUTS + 1, INPUTS], [OUTPUTS, INPUTS + 4], [0, 0]] {
        assert!(checkpoint.rows(WEIGHT, shape).is_err(), "{shape:?}");
    }
    refused(
        &awq(),
        &json!({"quant_method": "hqq"}),
        "\"hqq\" is not supported",
    );
}

/// 8-bit floats whose value is easily said: `1 + mantissa / 8`.
fn fp8(scale: &str, shape: &[usize], scales: &[f32]) -> Folder {
    let mut folder = Folder::default();
    let bytes = (0..OUTPUTS * INPUTS).map(|place| 0x38 | (place % 8) as u8);
    folder.add(
        "weight",
        Dtype::F8_E4M3,
        &[OUTPUTS, INPUTS],
        bytes.collect(),
    );
    let bytes = scales.iter().flat_map(|scale| scale.to_le_bytes());
    folder.add(scale, Dtype::F32, shape, bytes.collect());
    folder
}

fn assert_fp8(folder: &Folder, config: &Json, scale: impl Fn(usize, usize) -> f32) {
    let rows = folder.rows(config).unwrap();
    assert_eq!(rows.format(), None);
    for row in 0..OUTPUTS {
        let mut values = [f32::NAN; INPUTS];
        rows.read(row, &mut values);
        for (input, value) in values.into_iter().enumerate() {
            let stored = 1.0 + (input % 8) as f32 / 8.0;
            assert_eq!(value, scale(row, input) * stored, "{row} {input}");
        }
    }
}

#[test]
fn fp8_has_a_scale_for_all_for_each_row_or_for_each_tile() {
    let config = json!({"quant_method": "fbgemm_fp8"});
    assert_fp8(&fp8("weight_scale", &[1], &[0.5]), &config, |_, _| 0.5);
    assert_fp8(&fp8("weight_scale", &[], &[0.5]), &config, |_, _| 0.5);
    let by_row: Vec<f32> = (1..=OUTPUTS).map(|row| row as f32).collect();
    let scale = |row: usize, _: usize| (row + 1) as f32;
    assert_fp8(&fp8("weight_scale", &[OUTPUTS, 1], &by_row), &config, scale);
    let config = json!({"quant_method": "fp8", "weight_block_size": [16, 48]});
    let tiles = fp8("weight_scale_inv", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    assert_fp8(&tiles, &config, |row, input| {
        (1 + row / 16 * 2 + input / 48) as f32
    });
}

#[test]
fn matrices_that_were_left_as_they_were_are_read_beside_packed_ones() {
    for config in [gptq_config(), json!({"quant_method": "fp8"})] {
        let mut folder = Folder::default();
        folder.halves(
            "weight",
            &[OUTPUTS, INPUTS],
            std::iter::repeat_n(0.25, OUTPUTS * INPUTS),
        );
        let mut values = [0.0; INPUTS];
        folder.rows(&config).unwrap().read(2, &mut values);
        assert_eq!(values, [0.25; INPUTS]);
    }
}

#[test]
fn fp8_without_scales_that_fit_is_refused() {
    let config = json!({"quant_method": "fp8"});
    let folder = fp8("weight_scale_inv", &[3], &[1.0; 3]);
    let error = folder.rows(&config).unwrap_err().to_string();
    assert!(error.contains("weight_scale_inv has shape [3]"), "{error}");
    let mut folder = fp8("weight_scale_inv", &[1], &[1.0]);
    folder.0.remove(&format!("{STEM}.weight_scale_inv"));
    let error = folder.rows(&config).unwrap_err().to_string();
    assert!(error.contains("F8_E4M3; supported: F32"), "{error}");
}
