//! GGUF: fable-cut2 in every kind, against what gguf-py makes of its tensors and transformers of its prompts.

use std::path::{Path, PathBuf};

use block_model::{BlockSpan, ClientHead, Family, LoadError, ModelSource, SpanDType};
use serde_json::Value;

use crate::engine::{Span, load_span};
use crate::support::{States, row, step};

const FILES: [&str; 6] = [
    "fable-cut2-f16.gguf",
    "fable-cut2-q8_0.gguf",
    "fable-cut2-q4_0.gguf",
    "fable-cut2-q4_k.gguf",
    "fable-cut2-q5_k.gguf",
    "fable-cut2-q6_k.gguf",
];

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../models/fable-cut2")
        .join(file)
}

fn golden() -> Value {
    let text = std::fs::read_to_string(path("golden_gguf.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
        .collect()
}

struct Generator {
    head: ClientHead,
    span: Span,
}

impl Generator {
    fn load(file: &str) -> Self {
        let source = ModelSource::gguf(path(file)).unwrap();
        Self {
            head: ClientHead::load(&source).unwrap(),
            span: load_span(&source, 0..2, SpanDType::F32).unwrap(),
        }
    }

    /// Logits after the prompt, then after each of the ids that follow it, which are chosen by `next`.
    fn run(&mut self, prompt: &[u32], count: usize, mut next: impl FnMut(&[f32]) -> u32) {
        let cache = self.span.open_cache(0..2, 1, prompt.len() + count).unwrap();
        let (mut input, mut position) = (prompt.to_vec(), 0);
        for _ in 0..count {
            let states = States {
                values: self.head.embed(&input).unwrap(),
                shape: [1, input.len(), self.head.hidden()],
            };
            let output = step(&mut self.span, row(cache, 0..2, position, &states));
            position += input.len();
            let last = output.tokens(input.len() - 1..input.len());
            input = vec![next(&self.head.logits(&last.values).unwrap())];
        }
        self.span.close_cache(cache);
    }

    fn greedy(&mut self, prompt: &[u32], count: usize) -> Vec<u32> {
        let mut ids = Vec::new();
        self.run(prompt, count, |logits| {
            let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            ids.push(u32::try_from(best.unwrap().0).unwrap());
            ids[ids.len() - 1]
        });
        ids
    }
}

#[test]
fn every_kind_generates_the_golden_ids() {
    let golden = golden();
    for file in FILES {
        let mut generator = Generator::load(file);
        let prompts = golden["prompts"].as_array().unwrap().iter();
        let continuations = golden["kinds"][file]["continuations"].as_array().unwrap();
        for (prompt, continuation) in prompts.zip(continuations) {
            let expected = ids(&continuation["greedy_ids"]);
            let found = generator.greedy(&ids(&prompt["ids"]), expected.len());
            assert_eq!(found, expected, "{file} {}", prompt["text"]);
        }
    }
}

/// How far logits may be from those of the same weights in single precision, as a share of their typical size.
///
/// - halves: sums in another order, some units in the last place
/// - integers: activations are rounded to 8 bits in each of two blocks and in the head
fn ceiling(file: &str) -> f64 {
    if file.contains("f16") { 1e-5 } else { 0.02 }
}

#[test]
fn every_kind_gives_the_golden_logits() {
    let golden = golden();
    let prompt = ids(&golden["prompts"][0]["ids"]);
    for file in FILES {
        let expected = &golden["kinds"][file];
        Generator::load(file).run(&prompt, 1, |logits| {
            let length = logits
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>()
                .sqrt();
            let golden = expected["first_prompt_last_logits_l2"].as_f64().unwrap();
            let ceiling = ceiling(file);
            let error = (length / golden - 1.0).abs();
            assert!(error < ceiling, "{file}: {length} {golden}");
            let scale = golden / (logits.len() as f64).sqrt();
            let first = expected["first_prompt_last_logits_first8"]
                .as_array()
                .unwrap();
            for (found, golden) in logits.iter().zip(first) {
                let distance = (f64::from(*found) - golden.as_f64().unwrap()).abs();
                assert!(
                    distance < ceiling * scale,
                    "{file}: {found} {golden} {ceiling} {scale}"
                );
            }
            0
        });
    }
}

/// Weights and scales of a block as held, bytes a weight; the file has at most as many.
#[test]
fn weights_stay_packed_in_memory() {
    for (file, expected) in FILES
        .into_iter()
        .zip([2.0, 1.0625, 0.5625, 0.625, 0.9375, 0.9375])
    {
        let source = ModelSource::gguf(path(file)).unwrap();
        let span = load_span(&source, 0..2, SpanDType::F32).unwrap();
        let weights = 2 * source.config().values_per_block();
        let bytes = span.description().weight_bytes as f64 / weights as f64;
        // Of Q4_K some matrices are Q6_K; norms are float32.
        let most = if file.contains("q4_k") {
            0.8
        } else {
            expected + 0.01
        };
        assert!((expected..most).contains(&bytes), "{file}: {bytes}");
    }
}

#[test]
fn the_metadata_is_the_configuration_of_the_model_it_was_made_from() {
    let fable = ModelSource::directory(path("../fable-7m")).unwrap();
    for file in FILES {
        let source = ModelSource::gguf(path(file)).unwrap();
        let mut expected = fable.config().clone();
        expected.num_blocks = 2;
        expected.windows.truncate(2);
        if file.contains("f16") {
            expected.dtype = Some(SpanDType::F16);
        }
        assert_eq!(source.config(), &expected, "{file}");
        assert_eq!(source.config().family, Family::Llama);
        assert_eq!(source.commit(), None);
        assert!(source.name().ends_with(file));
        assert_eq!(source.gguf_chat_template(), None);
        assert!(matches!(
            source.file("tokenizer.json"),
            Err(LoadError::NotFound { .. })
        ));
        assert_eq!(source.span_files(0..2).unwrap().download_bytes, 0);
        let stored = if file.contains("f16") {
            expected.dtype
        } else {
            Some(SpanDType::F32)
        };
        assert_eq!(source.span_files(0..2).unwrap().stored, stored, "{file}");
    }
}

#[test]
fn the_tokenizer_is_that_of_the_model_it_was_made_from() {
    let text = std::fs::read_to_string(path("../fable-7m/tokenizer.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let source = ModelSource::gguf(path(FILES[0])).unwrap();
    let tokenizer = source.gguf_tokenizer().unwrap().unwrap();
    assert_eq!(
        (tokenizer.model.as_str(), tokenizer.pre.as_deref()),
        ("gpt2", Some("gpt-2"))
    );
    let vocabulary = expected["model"]["vocab"].as_object().unwrap();
    assert_eq!(tokenizer.tokens.len(), vocabulary.len());
    for (token, id) in vocabulary {
        assert_eq!(
            &tokenizer.tokens[usize::try_from(id.as_u64().unwrap()).unwrap()],
            token
        );
    }
    let merges = expected["model"]["merges"].as_array().unwrap();
    assert!(
        tokenizer
            .merges
            .iter()
            .eq(merges.iter().map(|merge| merge.as_str().unwrap()))
    );
    assert_eq!(tokenizer.token_types[..3], [3, 3, 1]);
    assert_eq!((tokenizer.bos, tokenizer.eos), (Some(0), Some(1)));
    assert_eq!((tokenizer.add_bos, tokenizer.unknown), (Some(true), None));
    assert!(tokenizer.scores.is_empty());
    let folder = ModelSource::directory(path("../fable-7m")).unwrap();
    assert_eq!(folder.gguf_tokenizer().unwrap(), None);
}

#[test]
fn a_cut_file_is_refused() {
    let bytes = std::fs::read(path(FILES[1])).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let cut = directory.path().join("cut.gguf");
    for length in [0, 3, 24, 1000, bytes.len() / 2, bytes.len() - 64] {
        std::fs::write(&cut, &bytes[..length]).unwrap();
        let error = ModelSource::gguf(&cut).unwrap_err();
        assert!(
            matches!(error, LoadError::Damaged { .. }),
            "{length}: {error}"
        );
        assert!(error.to_string().contains("cut.gguf"), "{error}");
    }
}
