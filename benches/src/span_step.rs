//! `span-step`: a decode step of the embedded model's eight blocks, against what batching and the cache save.

use std::cell::RefCell;

use anyhow::Result;
use block_model::{
    BlockSpan, CandleSpan, ComputeDevice, ForwardRow, HiddenStates, ModelSource, Row, SpanDType,
};

use crate::figure::Figure;
use crate::models;
use crate::rounds::{Effort, Rounds, Subject};

const BENCH: &str = "span-step";

/// Tokens in the cache when the step starts.
const PAST: usize = 128;

/// Sessions in the crowd.
const SESSIONS: usize = 8;

/// Blocks of the embedded model.
const BLOCKS: std::ops::Range<usize> = 0..8;

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let source = ModelSource::directory(models::fable())?;
    let mut span = CandleSpan::load(&source, BLOCKS, SpanDType::F32, ComputeDevice::Cpu)?;
    let hidden = span.description().hidden;
    let prompt = models::hidden_states(PAST + 1, hidden);
    let (past, new) = prompt.split_at(PAST * hidden);
    let row = |cache, position, values, seq| Row {
        cache,
        blocks: BLOCKS,
        position,
        hidden_states: HiddenStates {
            values,
            shape: [1, seq, hidden],
        },
        prompts: None,
        reorder: None,
    };
    let mut steps = Vec::new();
    for _ in 0..SESSIONS {
        let cache = span.open_cache(BLOCKS, 1, PAST + 1)?;
        span.step(&[row(cache, 0, past, PAST)]).remove(0)?;
        steps.push(row(cache, PAST, new, 1));
    }
    let span = RefCell::new(span);
    let run = |rows: &[Row<'_>]| -> Result<()> {
        for answer in span.borrow_mut().step(rows) {
            std::hint::black_box(answer?);
        }
        Ok(())
    };
    let rounds = Rounds::measure(
        BENCH,
        Effort::new(21, quick, 30),
        vec![
            Subject::timed(|| run(&steps[..1])),
            Subject::timed(|| run(&steps)),
            Subject::timed(|| {
                let mut steps = steps.iter();
                steps.try_for_each(|step| run(std::slice::from_ref(step)))
            }),
            Subject::timed(|| {
                let hidden_states = HiddenStates {
                    values: &prompt,
                    shape: [1, PAST + 1, hidden],
                };
                let row = ForwardRow {
                    blocks: BLOCKS,
                    hidden_states,
                    prompts: None,
                };
                std::hint::black_box(span.borrow_mut().forward(&row)?);
                Ok(())
            }),
        ],
    )?;
    let named = [
        "8 sessions, one call",
        "8 sessions, 8 calls",
        "no cache, all 129 tokens",
    ];
    let ratios = named
        .iter()
        .enumerate()
        .map(|(index, name)| Figure::new(BENCH, *name, rounds.ratio(index + 1, 0), "x one step"));
    let one = rounds.spread(|seconds| seconds[0] * 1e3);
    let one = Figure::new(BENCH, "one session, one token", one, "ms");
    Ok([one].into_iter().chain(ratios).collect())
}
