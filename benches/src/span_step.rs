//! One decode step of the embedded model's eight blocks, against what it saves.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark reports on stdout and stops at the first error"
)]

use std::cell::RefCell;
use std::path::Path;

use block_benches::{Subject, compare};
use block_model::{
    BlockSpan, CandleSpan, ComputeDevice, ForwardRow, HiddenStates, ModelSource, Row, SpanDType,
};

/// Tokens in the cache when the step starts.
const PAST: usize = 128;

/// Sessions in the crowd.
const SESSIONS: usize = 8;

fn main() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fable-7m");
    let source = ModelSource::directory(directory).unwrap();
    let mut span = CandleSpan::load(&source, 0..8, SpanDType::F32, ComputeDevice::Cpu).unwrap();
    let hidden = span.description().hidden;
    let prompt: Vec<f32> = (0..(PAST + 1) * hidden)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
        .collect();
    let (past, new) = prompt.split_at(PAST * hidden);
    let caches: Vec<_> = (0..SESSIONS)
        .map(|_| span.open_cache(0..8, 1, PAST + 1).unwrap())
        .collect();
    let row = |cache, position, values, seq| Row {
        cache,
        blocks: 0..8,
        position,
        hidden_states: HiddenStates {
            values,
            shape: [1, seq, hidden],
        },
        prompts: None,
        reorder: None,
    };
    for &cache in &caches {
        span.step(&[row(cache, 0, past, PAST)]).remove(0).unwrap();
    }
    let steps: Vec<_> = caches
        .iter()
        .map(|&cache| row(cache, PAST, new, 1))
        .collect();
    let span = RefCell::new(span);
    let run = |rows: &[Row<'_>]| {
        for answer in span.borrow_mut().step(rows) {
            std::hint::black_box(answer.unwrap());
        }
    };
    println!("fable-7m, float32, 8 blocks, {PAST} tokens in the cache");
    let lines = compare(vec![
        Subject::new("one session, one token", || run(&steps[..1])),
        Subject::new("8 sessions, one call", || run(&steps)),
        Subject::new("8 sessions, 8 calls", || {
            steps
                .iter()
                .for_each(|step| run(std::slice::from_ref(step)))
        }),
        Subject::new("no cache: all 129 tokens again", || {
            let hidden_states = HiddenStates {
                values: &prompt,
                shape: [1, PAST + 1, hidden],
            };
            let row = ForwardRow {
                blocks: 0..8,
                hidden_states,
                prompts: None,
            };
            std::hint::black_box(span.borrow_mut().forward(&row).unwrap());
        }),
    ]);
    lines.iter().for_each(|line| println!("  {line}"));
}
