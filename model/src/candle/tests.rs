//! Properties of the arithmetic that the span contract does not show.

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::block::Block;
use super::kv_cache::{KvCache, KvShape};
use super::load::{load_block, plain_rope};
use super::rope::{RopeTable, Rotation};
use super::weights::WeightReader;
use crate::families;
use crate::source::{Checkpoint, ModelSource};

/// One block of tiny-llama in double precision, where a finite difference means something.
struct Fixture {
    block: Block,
    rope: RopeTable,
    hidden: usize,
    kv_shape: KvShape,
}

impl Fixture {
    fn load() -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        let source = ModelSource::directory(directory).unwrap();
        let config = source.config();
        let layout = families::block(config, 1);
        let names = layout.tensor_names();
        let checkpoint = Checkpoint::open(&source, &names).unwrap();
        let reader = WeightReader {
            checkpoint: &checkpoint,
            dtype: DType::F64,
            device: &Device::Cpu,
        };
        let (rope, head_dim) = plain_rope(config).unwrap();
        Self {
            block: load_block(config, &layout, &reader).unwrap().unwrap(),
            rope: RopeTable::new(rope.clone(), head_dim, DType::F64, &Device::Cpu).unwrap(),
            hidden: config.hidden,
            kv_shape: KvShape {
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
                dtype: DType::F64,
                device: Device::Cpu,
            },
        }
    }

    fn rotation(&mut self, seq: usize) -> Rotation {
        self.rope.rotation(0, seq).unwrap()
    }

    /// `[batch, seq, hidden]`, the same in every run.
    fn wave(&self, batch: usize, seq: usize, phase: f64) -> Tensor {
        let count = batch * seq * self.hidden;
        let values: Vec<f64> = (0..count).map(|i| (i as f64 * 0.7 + phase).sin()).collect();
        Tensor::from_vec(values, (batch, seq, self.hidden), &Device::Cpu).unwrap()
    }
}

/// Largest difference of two tensors of one shape.
fn distance(left: &Tensor, right: &Tensor) -> f64 {
    let difference = (left - right).unwrap().abs().unwrap();
    difference.max_all().unwrap().to_scalar::<f64>().unwrap()
}

#[test]
fn the_pass_without_cache_is_differentiable() {
    let mut fixture = Fixture::load();
    // Small enough for several chunks of queries, so that they are differentiated too.
    fixture.block.attention.max_score_bytes = 100;
    let (batch, seq) = (2, 5);
    let rotation = fixture.rotation(seq);
    let input = Var::from_tensor(&fixture.wave(batch, seq, 0.0)).unwrap();
    let weights = fixture.wave(batch, seq, 1.0);
    let loss = |input: &Tensor| -> Result<Tensor> {
        let output = fixture.block.forward(input, &rotation, None)?;
        (output * &weights)?.sum_all()
    };
    let gradients = loss(input.as_tensor()).unwrap().backward().unwrap();
    let gradient = gradients.get(&input).expect("the input has a gradient");

    let direction = fixture.wave(batch, seq, 2.0);
    let slope = (gradient * &direction).unwrap().sum_all().unwrap();
    let slope = slope.to_scalar::<f64>().unwrap();
    let shifted = |by: f64| {
        let moved = (input.as_tensor() + (&direction * by).unwrap()).unwrap();
        loss(&moved).unwrap().to_scalar::<f64>().unwrap()
    };
    let step = 1e-5;
    let measured = (shifted(step) - shifted(-step)) / (2.0 * step);
    let error = (slope - measured).abs() / measured.abs();
    assert!(
        error < 1e-6,
        "gradient says {slope}, the difference {measured}"
    );
}

#[test]
fn chunks_of_queries_do_not_change_the_result() {
    let mut fixture = Fixture::load();
    let rotation = fixture.rotation(7);
    let input = fixture.wave(2, 7, 0.0);
    let whole = fixture.block.forward(&input, &rotation, None).unwrap();
    for max_score_bytes in [0, 200, 500, 1000] {
        fixture.block.attention.max_score_bytes = max_score_bytes;
        let chunked = fixture.block.forward(&input, &rotation, None).unwrap();
        assert!(distance(&whole, &chunked) < 1e-12, "{max_score_bytes}");
    }
}

#[test]
fn a_cache_does_not_change_the_result() {
    let mut fixture = Fixture::load();
    let rotation = fixture.rotation(7);
    let input = fixture.wave(2, 7, 0.0);
    let whole = fixture.block.forward(&input, &rotation, None).unwrap();
    let mut cache = KvCache::new(&fixture.kv_shape, 0..1, 2, 9).unwrap();
    let [entry] = cache.entries_mut(&(0..1)) else {
        panic!("one block");
    };
    let cached = fixture.block.forward(&input, &rotation, Some(entry));
    assert!(distance(&whole, &cached.unwrap()) < 1e-12);
    assert_eq!(entry.cached, 7);
}

#[test]
fn a_value_that_is_not_finite_stays_in_its_batch_row_and_after_its_token() {
    let mut fixture = Fixture::load();
    let rotation = fixture.rotation(4);
    let clean = fixture.wave(2, 4, 0.0);
    let mut values = clean.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let poisoned_token = fixture.hidden * 6; // row 1, token 2
    values[poisoned_token] = f64::INFINITY;
    let poisoned = Tensor::from_vec(values, clean.shape(), &Device::Cpu).unwrap();
    // One query at a time, because a product with a later value that is not a number is none.
    fixture.block.attention.max_score_bytes = 0;
    let before = fixture.block.forward(&clean, &rotation, None).unwrap();
    let after = fixture.block.forward(&poisoned, &rotation, None).unwrap();
    for (row, tokens) in [(0, 4), (1, 2)] {
        let part = |whole: &Tensor| {
            let row = whole.narrow(0, row, 1).unwrap();
            row.narrow(1, 0, tokens).unwrap().contiguous().unwrap()
        };
        assert!(distance(&part(&before), &part(&after)) < 1e-12, "row {row}");
    }
}
