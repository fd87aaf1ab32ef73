//! `crowd`: many sessions at one compute thread of a server, their hidden states ready: tokens a second of all
//! together, how long a step takes, how many sessions one call of the span holds; and what a long prompt does to the others.
//!
//! bf16, 1B shape, 128 tokens of context. Every session asks for its next step as soon as it has the last one's answer.

mod crew;

use anyhow::Result;

use crate::figure::{Figure, Goal};
use crate::format::Format;
use crate::models::{ONE_BILLION, Stack};
use crate::rounds::{Effort, Rounds, Subject};
use crew::Crew;

const BENCH: &str = "crowd";

/// Enough blocks that scheduling is not what is measured, few enough to fill 32 sessions quickly.
const BLOCKS: usize = 8;
const QUICK_BLOCKS: usize = 4;

const SESSIONS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const QUICK_SESSIONS: [usize; 3] = [1, 4, 16];

/// The crowd that has goals.
const GOAL_SESSIONS: usize = 16;
const AGGREGATE_GOAL: Goal = Goal::AtLeast(6.5);
const OTHERS_GOAL: Goal = Goal::AtMost(2.0);
const PROMPT_GOAL: Goal = Goal::AtMost(1.7);

/// Steps of each session in one round.
const STEPS: usize = 24;

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let stack = Stack {
        shape: &ONE_BILLION,
        blocks: if quick { QUICK_BLOCKS } else { BLOCKS },
    };
    let sessions: &[usize] = if quick { &QUICK_SESSIONS } else { &SESSIONS };
    let most = sessions.iter().copied().max().unwrap_or(1);
    let span = Format::Bf16.load(&stack.checkpoint()?, stack.blocks)?;
    let crew = Crew::start(span, most)?;
    let mut figures = alone(&crew, sessions, quick)?;
    let disturbed = if quick {
        &[GOAL_SESSIONS][..]
    } else {
        sessions
    };
    for sessions in disturbed {
        figures.extend(with_prompt(&crew, *sessions, quick)?);
    }
    crew.end();
    Ok(figures)
}

/// Speed of crowds of each size.
fn alone(crew: &Crew, sizes: &[usize], quick: bool) -> Result<Vec<Figure>> {
    const NUMBERS: usize = 3;
    let crowds = sizes.iter().map(|sessions| {
        Subject::new(move || {
            let work = crew.work(*sessions, STEPS)?;
            Ok(vec![
                work.tokens_per_second(),
                work.p95(),
                work.rows_per_call,
            ])
        })
    });
    let rounds = Rounds::measure(BENCH, Effort::new(9, quick, 8), crowds.collect())?;
    let mut figures = Vec::new();
    for (index, sessions) in sizes.iter().enumerate() {
        let first = index * NUMBERS;
        let figure = |what: &str, spread, unit| {
            Figure::new(BENCH, format!("{sessions} sessions, {what}"), spread, unit)
        };
        let rate = rounds.spread(|values| values[first]);
        figures.push(figure("all together", rate, "tokens/s"));
        if *sessions > 1 {
            let gain = figure("all together", rounds.ratio(first, 0), "x one session");
            figures.push(if *sessions == GOAL_SESSIONS {
                gain.with_goal(AGGREGATE_GOAL)
            } else {
                gain
            });
        }
        let p95 = rounds.spread(|values| values[first + 1] * 1e3);
        figures.push(figure("step p95", p95, "ms"));
        let rows = rounds.spread(|values| values[first + 2]);
        figures.push(figure("mean executed batch", rows, "sessions"));
    }
    Ok(figures)
}

/// What a prompt and a crowd do to each other.
fn with_prompt(crew: &Crew, sessions: usize, quick: bool) -> Result<Vec<Figure>> {
    let subjects = vec![
        Subject::new(|| Ok(vec![crew.work(sessions, STEPS)?.p95()])),
        Subject::timed(|| crew.prompt_alone()),
        Subject::new(|| {
            let (work, prompt_seconds) = crew.work_beside_prompt(sessions)?;
            Ok(vec![
                work.p95(),
                prompt_seconds,
                work.tokens_per_second(),
                work.rows_per_call,
            ])
        }),
    ];
    let name = format!("{BENCH}, {sessions} with a prompt");
    let rounds = Rounds::measure(&name, Effort::new(7, quick, 10), subjects)?;
    let figure = |what: &str, spread, unit| {
        Figure::new(
            BENCH,
            format!("{sessions} sessions and a prompt, {what}"),
            spread,
            unit,
        )
    };
    let goal = |figure: Figure, goal| {
        if sessions == GOAL_SESSIONS {
            figure.with_goal(goal)
        } else {
            figure
        }
    };
    Ok(vec![
        goal(
            figure("step p95", rounds.ratio(2, 0), "x without"),
            OTHERS_GOAL,
        ),
        goal(figure("prompt", rounds.ratio(3, 1), "x alone"), PROMPT_GOAL),
        figure("sessions", rounds.spread(|values| values[4]), "tokens/s"),
        figure("prompt alone", rounds.spread(|values| values[1]), "s"),
        figure(
            "mean executed batch",
            rounds.spread(|values| values[5]),
            "rows",
        ),
    ])
}
