//! `prefill`: prompts through whole blocks in every weight format, as a share of the arithmetic that the processor
//! could do in that time. What counts are the operations of the linear layers; norms, attention and the like are the rest.

use anyhow::Result;
use block_model::peak::Unit;

use crate::figure::{Figure, Goal};
use crate::format::Format;
use crate::models::Stack;
use crate::rounds::{Effort, Rounds, Subject};
use crate::workload::{Sessions, Workload};
use crate::{host, peak};

const BENCH: &str = "prefill";

/// Tokens of the prompts.
const PROMPTS: [usize; 2] = [128, 512];
const LONGEST: usize = 512;

/// Int8 against our own bf16.
const INT8_GOAL: Goal = Goal::AtLeast(1.25);

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for stack in Stack::measured(quick) {
        figures.extend(of_stack(BENCH, stack, &Format::SERVED, &PROMPTS, quick)?);
    }
    Ok(figures)
}

/// Figures of some formats, bf16 first, and some lengths.
pub(crate) fn of_stack(
    bench: &'static str,
    stack: Stack,
    formats: &[Format],
    prompts: &[usize],
    quick: bool,
) -> Result<Vec<Figure>> {
    let mut spans = Vec::new();
    for format in formats {
        let span = format.load(&stack.checkpoint()?, stack.blocks)?;
        let workload = Workload::new(span, LONGEST);
        let sessions = workload.open(1, 0, LONGEST)?;
        spans.push((*format, workload, sessions));
    }
    let mut figures = Vec::new();
    for tokens in prompts {
        figures.extend(measure(bench, stack, &spans, *tokens, quick)?);
    }
    Ok(figures)
}

/// Figures of one length.
fn measure(
    bench: &'static str,
    stack: Stack,
    spans: &[(Format, Workload, Sessions)],
    tokens: usize,
    quick: bool,
) -> Result<Vec<Figure>> {
    let (unit, unit_name) = if peak::has(Unit::Bf16) {
        (Unit::Bf16, "x bf16 peak")
    } else {
        (Unit::F32, "x f32 peak")
    };
    let threads = host::cores();
    let limits = Subject::new(|| {
        let of = |unit| peak::operations_per_second(unit, threads).unwrap_or(f64::NAN);
        Ok(vec![
            of(unit),
            of(Unit::Int8),
            of(Unit::Bf16Matrix),
            of(Unit::Int8Matrix),
        ])
    });
    let prompts = spans.iter().map(|(_, workload, sessions)| {
        Subject::new(move || Ok(vec![workload.prompt(sessions, tokens)?]))
    });
    let name = format!("{bench}, {} {tokens}", stack.shape.name);
    let subjects = [limits].into_iter().chain(prompts).collect();
    let rounds = Rounds::measure(&name, Effort::new(11, quick, 8), subjects)?;
    let operations = 2.0 * stack.weights() as f64 * tokens as f64;
    // After the limits.
    let bf16 = 4;
    let mut figures = Vec::new();
    for (index, (format, ..)) in (bf16..).zip(spans) {
        let figure = |what: &str, spread, unit| {
            let title = format!(
                "{} {}, {tokens} tokens, {what}",
                stack.shape.name,
                format.name()
            );
            Figure::new(bench, title, spread, unit)
        };
        let per_block = rounds.spread(|values| values[index] / stack.blocks as f64 * 1e3);
        figures.push(figure("time", per_block, "ms/block"));
        let share_of =
            |limit: usize| rounds.spread(|values| operations / values[index] / values[limit]);
        if peak::has(Unit::Bf16Matrix) {
            match format {
                Format::Bf16 => {
                    figures.push(figure("linear layers", share_of(2), "x bf16 matrix peak"))
                }
                Format::Int8 => {
                    figures.push(figure("linear layers", share_of(3), "x int8 matrix peak"))
                }
                Format::F32 | Format::Int4 | Format::Nf4 => {}
            }
        }
        let share = figure("linear layers", share_of(0), unit_name);
        if *format == Format::Bf16 {
            let goal = if tokens == LONGEST { 0.85 } else { 0.80 };
            figures.push(share.with_goal(Goal::AtLeast(goal)));
            continue;
        }
        figures.push(share);
        let speed = figure("speed", rounds.ratio(bf16, index), "x our bf16");
        if *format == Format::Int8 {
            figures.push(speed.with_goal(INT8_GOAL));
            if peak::has(Unit::Int8) {
                figures.push(figure("linear layers", share_of(1), "x int8 peak"));
            }
        } else {
            figures.push(speed);
        }
    }
    Ok(figures)
}
