//! What only the processor's engine promises: every format at every level, and bits that depend on nobody else.

use std::ops::Range;

use block_model::{
    BlockSpan, CacheHandle, CpuOptions, CpuSpan, KvDType, Level, ModelSource, Quant, Row,
    SpanDType, SpanError,
};

use crate::support::{Golden, States, fable_path, forward, row, step, tiny_path};

/// A choice of formats and how far from single precision it may lead: the largest relative RMS over all blocks.
struct Choice {
    dtype: SpanDType,
    quant: Quant,
    kv_dtype: KvDType,
    ceiling: f32,
}

const fn choice(dtype: SpanDType, quant: Quant, kv_dtype: KvDType, ceiling: f32) -> Choice {
    Choice {
        dtype,
        quant,
        kv_dtype,
        ceiling,
    }
}

const CHOICES: [Choice; 7] = [
    choice(SpanDType::F32, Quant::None, KvDType::F32, 1e-5),
    choice(SpanDType::BF16, Quant::None, KvDType::Bf16, 0.01),
    choice(SpanDType::F16, Quant::None, KvDType::F32, 0.01),
    choice(SpanDType::BF16, Quant::Int8, KvDType::Bf16, 0.02),
    choice(SpanDType::BF16, Quant::Int4, KvDType::Bf16, 0.12),
    choice(SpanDType::BF16, Quant::Nf4, KvDType::Bf16, 0.12),
    choice(SpanDType::F32, Quant::Int8, KvDType::Int8, 0.02),
];

fn options(choice: &Choice) -> CpuOptions {
    CpuOptions {
        quant: choice.quant,
        kv_dtype: Some(choice.kv_dtype),
        ..CpuOptions::new(choice.dtype)
    }
}

fn load_fable(options: &CpuOptions) -> CpuSpan {
    let source = ModelSource::directory(fable_path()).unwrap();
    CpuSpan::load(&source, 0..8, options).unwrap()
}

#[test]
fn every_format_at_every_level_is_within_its_ceiling() {
    let golden = Golden::read(&fable_path());
    for level in Level::available() {
        for choice in &CHOICES {
            let mut span = load_fable(&CpuOptions {
                kernels: Some(level),
                ..options(choice)
            });
            for block in 0..8 {
                let expected = golden.output_of(block);
                let found = forward(&mut span, block..block + 1, &golden.input_of(block));
                let error = found.relative_rms(&expected);
                assert!(
                    error <= choice.ceiling,
                    "{level} {:?} {:?} block {block}: {error}",
                    choice.quant,
                    choice.dtype
                );
            }
        }
    }
}

/// The golden ids need no rounding luck in single precision, whatever the level.
#[test]
fn every_level_agrees_in_single_precision() {
    for path in [tiny_path(), fable_path()] {
        let golden = Golden::read(&path);
        let source = ModelSource::directory(&path).unwrap();
        let blocks = source.config().num_blocks;
        for level in Level::available() {
            let options = CpuOptions {
                kernels: Some(level),
                ..CpuOptions::new(SpanDType::F32)
            };
            let mut span = CpuSpan::load(&source, 0..blocks, &options).unwrap();
            let expected = golden.output_of(blocks - 1);
            let found = forward(&mut span, 0..blocks, &golden.input_of(0));
            let distance = found.max_distance(&expected);
            assert!(distance <= 1e-4 * expected.largest(), "{level}: {distance}");
        }
    }
}

/// Pseudo-random numbers, the same in every run (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// One session of the crowd: its input, what it gave alone, and how far it has come.
struct Guest {
    input: States,
    alone: Vec<f32>,
    /// Spans that it passes one after the other, with a cache each.
    cuts: Vec<(Range<usize>, CacheHandle)>,
    done: usize,
}

const TOKENS: usize = 150;

/// Sessions of one to 150 tokens, run in random chunks through random splits of the blocks, in random company.
fn crowd(options: &CpuOptions, seed: u64) {
    let mut dice = Dice(seed);
    let mut span = load_fable(options);
    let mut guests: Vec<Guest> = (0..8)
        .map(|number| {
            let tokens = 1 + dice.below(TOKENS);
            let input = States::noise([1, tokens, 256], number);
            let cache = span.open_cache(0..8, 1, tokens).unwrap();
            let alone = step(&mut span, row(cache, 0..8, 0, &input)).values;
            span.close_cache(cache);
            let cut = 1 + dice.below(8);
            let mut ranges = vec![0..cut, cut..8];
            ranges.retain(|range| !range.is_empty());
            let open = |range: Range<usize>| {
                let cache = span.open_cache(range.clone(), 1, tokens).unwrap();
                (range, cache)
            };
            Guest {
                input,
                alone,
                cuts: ranges.into_iter().map(open).collect(),
                done: 0,
            }
        })
        .collect();
    let (mut calls, mut shared) = (0, 0);
    while guests.iter().any(|guest| guest.done < guest.input.shape[1]) {
        let mut present = Vec::new();
        for (number, guest) in guests.iter().enumerate() {
            let left = guest.input.shape[1] - guest.done;
            if left > 0 && dice.below(4) > 0 {
                let most = if dice.below(3) == 0 { 70 } else { 3 };
                present.push((number, 1 + dice.below(left.min(most))));
            }
        }
        if present.is_empty() {
            continue;
        }
        calls += 1;
        shared += usize::from(present.len() > 1);
        together(&mut span, &mut guests, &present);
    }
    assert!(
        2 * shared >= calls,
        "only {shared} of {calls} calls were shared"
    );
}

/// Runs the next tokens of the guests that are present, all first spans in one call and all second spans in another.
fn together(span: &mut CpuSpan, guests: &mut [Guest], present: &[(usize, usize)]) {
    let mut states: Vec<States> = present
        .iter()
        .map(|(number, tokens)| {
            let guest = &guests[*number];
            guest.input.tokens(guest.done..guest.done + tokens)
        })
        .collect();
    for stage in 0..2 {
        let mut rows = Vec::new();
        let mut owners = Vec::new();
        for (place, (number, _)) in present.iter().enumerate() {
            let guest = &guests[*number];
            if let Some((blocks, cache)) = guest.cuts.get(stage) {
                rows.push(row(*cache, blocks.clone(), guest.done, &states[place]));
                owners.push(place);
            }
        }
        let outputs: Vec<_> = span.step(&rows).into_iter().map(Result::unwrap).collect();
        for (place, values) in owners.into_iter().zip(outputs) {
            states[place].values = values;
        }
    }
    for ((number, tokens), states) in present.iter().zip(states) {
        let guest = &mut guests[*number];
        let expected = &guest.alone[guest.done * 256..(guest.done + tokens) * 256];
        assert!(
            states
                .values
                .iter()
                .zip(expected)
                .all(|(found, alone)| found.to_bits() == alone.to_bits()),
            "session {number} at token {}",
            guest.done
        );
        guest.done += tokens;
    }
}

#[test]
fn a_session_does_not_feel_chunks_splits_and_company() {
    for choice in &CHOICES {
        for seed in 0..3 {
            crowd(&options(choice), seed);
        }
    }
}

#[test]
fn the_lower_levels_keep_the_bits_as_well() {
    for level in Level::available() {
        for choice in [&CHOICES[0], &CHOICES[1], &CHOICES[5]] {
            crowd(
                &CpuOptions {
                    kernels: Some(level),
                    ..options(choice)
                },
                7,
            );
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let input = States::noise([2, 70, 256], 1);
    let run = |threads| {
        let mut span = load_fable(&CpuOptions {
            threads: Some(threads),
            ..CpuOptions::new(SpanDType::BF16)
        });
        assert_eq!(span.threads(), threads);
        forward(&mut span, 0..8, &input).values
    };
    let one = run(1);
    assert!([2, 3, 5].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn a_session_without_pages_fails_alone_and_the_budget_holds() {
    let bytes_per_page = 64 * 2 * 2 * 64 * 4;
    let mut span = load_fable(&CpuOptions {
        kv_budget_bytes: 8 * 3 * bytes_per_page,
        ..CpuOptions::new(SpanDType::F32)
    });
    let input = States::noise([1, 64, 256], 3);
    let open = |span: &mut CpuSpan| span.open_cache(0..8, 1, 1000).unwrap();
    let caches: Vec<_> = (0..4).map(|_| open(&mut span)).collect();
    let rows: Vec<_> = caches
        .iter()
        .map(|cache| row(*cache, 0..8, 0, &input))
        .collect();
    let outputs = span.step(&rows);
    assert!(outputs[..3].iter().all(Result::is_ok));
    assert!(
        matches!(outputs[3], Err(SpanError::NoPages { .. })),
        "{:?}",
        outputs[3]
    );
    assert!(span.kv_bytes_in_use() <= 8 * 3 * bytes_per_page);
    // The first three are as they would be alone, and the fourth goes on once there is room.
    span.close_cache(caches[0]);
    let late = step(&mut span, row(caches[3], 0..8, 0, &input));
    assert_eq!(Ok(late.values), outputs[0]);
    caches.iter().for_each(|cache| span.close_cache(*cache));
    assert_eq!(span.kv_bytes_in_use(), 0);
}

#[test]
fn a_cache_twice_in_one_call_runs_one_after_the_other() {
    let mut span = load_fable(&CpuOptions::new(SpanDType::F32));
    let input = States::noise([1, 9, 256], 3);
    let (one, two) = (
        span.open_cache(0..8, 1, 9).unwrap(),
        span.open_cache(0..8, 1, 9).unwrap(),
    );
    let whole = step(&mut span, row(one, 0..8, 0, &input));
    let (first, second) = (input.tokens(0..4), input.tokens(4..9));
    let rows: [Row<'_>; 2] = [row(two, 0..8, 0, &first), row(two, 0..8, 4, &second)];
    let parts: Vec<f32> = span
        .step(&rows)
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    assert_eq!(parts, whole.values);
}
