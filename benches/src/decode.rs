//! `decode`: one new token for each of some sessions, whole blocks, in every weight format; as a share of what memory
//! could stream in that time, and against one session with a short text.

use std::ops::RangeInclusive;

use anyhow::Result;

use crate::figure::{Figure, Goal};
use crate::format::Format;
use crate::host;
use crate::models::Stack;
use crate::rounds::{Effort, Rounds, Subject};
use crate::workload::Workload;

const BENCH: &str = "decode";

const SHORT: usize = 128;
const LONG: usize = 2048;

/// Sessions in one step.
const BATCHES: [usize; 3] = [1, 8, 32];

/// Steps of one sample: a block in 4 bits takes less than a millisecond.
const STEPS: usize = 4;

/// GB/s from which on the development machine's memory is in its fast mode, and up to which in its slow one.
const FAST: f64 = 70.0;
const SLOW: f64 = 55.0;

/// Sessions with texts of equal length: a group that is filled once.
#[derive(Clone, Copy, Debug)]
struct Case {
    context: usize,
    sessions: usize,
}

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for stack in Stack::measured(quick) {
        for format in Format::SERVED {
            figures.extend(measure(BENCH, stack, format, &cases(stack, quick), quick)?);
        }
    }
    Ok(figures)
}

/// All sizes at 128 tokens, with `quick` only the two smaller ones. At 2,048 one session, and where the model is small
/// enough to fill them in time, all sizes.
fn cases(stack: Stack, quick: bool) -> Vec<Case> {
    const FILLED_QUICKLY: usize = 2048;
    let case = |context| move |sessions| Case { context, sessions };
    let short = if quick { 2 } else { BATCHES.len() };
    let short = BATCHES.into_iter().map(case(SHORT)).take(short);
    let mut cases: Vec<Case> = short.collect();
    let long = BATCHES.into_iter().map(case(LONG));
    let many = !quick && stack.shape.hidden <= FILLED_QUICKLY;
    cases.extend(long.take(if many { BATCHES.len() } else { 1 }));
    cases
}

/// One session after a short text, for another benchmark.
pub(crate) fn one_session(
    bench: &'static str,
    stack: Stack,
    format: Format,
    quick: bool,
) -> Result<Vec<Figure>> {
    let case = Case {
        context: SHORT,
        sessions: 1,
    };
    measure(bench, stack, format, &[case], quick)
}

fn measure(
    bench: &'static str,
    stack: Stack,
    format: Format,
    cases: &[Case],
    quick: bool,
) -> Result<Vec<Figure>> {
    let workload = Workload::new(format.load(&stack.checkpoint()?, stack.blocks)?, 1);
    let most = |context: usize| {
        let sessions = cases.iter().filter(|case| case.context == context);
        sessions.map(|case| case.sessions).max().unwrap_or(0)
    };
    let short = workload.open(most(SHORT), SHORT, STEPS)?;
    let long = workload.open(most(LONG), LONG, STEPS)?;
    let subjects = cases.iter().map(|case| {
        let sessions = if case.context == SHORT { &short } else { &long };
        let workload = &workload;
        Subject::new(move || Ok(vec![workload.decode(sessions, case.sessions, STEPS)?]))
    });
    let name = format!("{bench}, {} {}", stack.shape.name, format.name());
    let effort = Effort::new(15, quick, 2);
    let rounds = Rounds::measure_beside_stream(&name, effort, host::cores(), subjects.collect())?;
    Ok(figures(bench, stack, format, cases, &rounds))
}

fn figures(
    bench: &'static str,
    stack: Stack,
    format: Format,
    cases: &[Case],
    rounds: &Rounds,
) -> Vec<Figure> {
    let title = |case: &Case, what: &str| {
        let Case { context, sessions } = case;
        format!(
            "{} {}, {sessions} x {context}, {what}",
            stack.shape.name,
            format.name()
        )
    };
    let gigabytes = stack.weights() as f64 * format.bits() / 8.0 / 1e9;
    let mut figures = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let per_block = rounds.spread(|seconds| seconds[index] / stack.blocks as f64 * 1e3);
        figures.push(Figure::new(
            bench,
            title(case, "time"),
            per_block,
            "ms/block",
        ));
        let share = |seconds: &[f64], streams: &[f64]| gigabytes / seconds[index] / streams[index];
        if case.sessions == 1 {
            for goal in share_goals(format) {
                let within = |seconds: &[f64], streams: &[f64]| {
                    let counts = goal.streams.contains(&streams[index]);
                    counts.then(|| share(seconds, streams))
                };
                let Some(spread) = rounds.beside_stream(within) else {
                    continue;
                };
                let name = title(case, &format!("weights{}", goal.mode));
                let figure = Figure::new(bench, name, spread, "x stream");
                figures.push(if case.context == SHORT {
                    figure.with_goal(Goal::AtLeast(goal.share))
                } else {
                    figure
                });
            }
        }
        if index > 0 {
            let figure = Figure::new(
                bench,
                title(case, "step"),
                rounds.ratio(index, 0),
                "x 1 x 128",
            );
            figures.push(match time_goal(format, case) {
                Some(goal) => figure.with_goal(Goal::AtMost(goal)),
                None => figure,
            });
        }
    }
    figures
}

/// What share of the stream one session must reach, in one mode of the memory.
#[derive(Debug)]
struct ShareGoal {
    mode: &'static str,
    /// GB/s of the rounds that count.
    streams: RangeInclusive<f64>,
    share: f64,
}

/// Wide weights leave the processor time to spare in either mode of the memory, narrow ones do not in the fast one.
fn share_goals(format: Format) -> Vec<ShareGoal> {
    let always = |share| ShareGoal {
        mode: "",
        streams: 0.0..=f64::INFINITY,
        share,
    };
    let by_mode = |fast_share| {
        let fast = ShareGoal {
            mode: ", fast memory",
            streams: FAST..=f64::INFINITY,
            share: fast_share,
        };
        let slow = ShareGoal {
            mode: ", slow memory",
            streams: 0.0..=SLOW,
            share: 0.90,
        };
        vec![fast, slow]
    };
    match format {
        Format::F32 | Format::Bf16 => vec![always(0.95)],
        Format::Int8 => vec![always(0.92)],
        Format::Int4 => by_mode(0.72),
        Format::Nf4 => by_mode(0.65),
    }
}

/// How many times as long as one session at 128 tokens a step may take.
fn time_goal(format: Format, case: &Case) -> Option<f64> {
    match (format, case.context, case.sessions) {
        (Format::Bf16, LONG, 1) => Some(1.15),
        (Format::Bf16, SHORT, 8) => Some(1.5),
        (Format::Bf16, SHORT, 32) => Some(3.8),
        _ => None,
    }
}
