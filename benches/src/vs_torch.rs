//! `vs-torch`: our blocks in bf16 against PyTorch's, with the versions that Petals pins, each on every core.

use std::cell::RefCell;

use anyhow::Result;

use crate::figure::{Figure, Goal};
use crate::format::Format;
use crate::host;
use crate::models::Stack;
use crate::processes::TorchBlocks;
use crate::rounds::{Effort, Rounds, Subject};
use crate::workload::{Sessions, Workload};

const BENCH: &str = "vs-torch";

const SHORT: usize = 128;
const LONG: usize = 2048;
const LONGEST_PROMPT: usize = 512;
const MOST_SESSIONS: usize = 32;

/// Steps of one sample.
const STEPS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Task {
    Decode { sessions: usize, context: usize },
    Prompt(usize),
}

const TASKS: [Task; 6] = [
    decode(1, SHORT),
    decode(1, LONG),
    decode(8, SHORT),
    Task::Prompt(128),
    decode(MOST_SESSIONS, SHORT),
    Task::Prompt(LONGEST_PROMPT),
];

/// Those of a quick run come first.
const QUICK_TASKS: usize = 4;

const fn decode(sessions: usize, context: usize) -> Task {
    Task::Decode { sessions, context }
}

/// How many times as fast one session must be, for each shape.
const GOALS: [(&str, usize, f64); 4] = [
    ("1B", SHORT, 2.5),
    ("1B", LONG, 15.0),
    ("8B", SHORT, 1.9),
    ("8B", LONG, 9.0),
];

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for stack in Stack::measured(quick) {
        figures.extend(measure(stack, quick)?);
    }
    Ok(figures)
}

/// Our side.
struct Ours {
    workload: Workload,
    short: Sessions,
    long: Sessions,
    prompt: Sessions,
}

impl Ours {
    fn load(stack: Stack) -> Result<Self> {
        let span = Format::Bf16.load(&stack.checkpoint()?, stack.blocks)?;
        let workload = Workload::new(span, LONGEST_PROMPT);
        Ok(Self {
            short: workload.open(MOST_SESSIONS, SHORT, STEPS)?,
            long: workload.open(1, LONG, STEPS)?,
            prompt: workload.open(1, 0, LONGEST_PROMPT)?,
            workload,
        })
    }

    fn run(&self, task: Task) -> Result<f64> {
        match task {
            Task::Decode { sessions, context } => {
                let filled = if context == SHORT {
                    &self.short
                } else {
                    &self.long
                };
                self.workload.decode(filled, sessions, STEPS)
            }
            Task::Prompt(tokens) => self.workload.prompt(&self.prompt, tokens),
        }
    }
}

fn measure(stack: Stack, quick: bool) -> Result<Vec<Figure>> {
    let torch = TorchBlocks::start(stack, host::cores())?;
    eprintln!("{BENCH}: {}", torch.versions);
    let torch = RefCell::new(torch);
    let ours = Ours::load(stack)?;
    let mut figures = Vec::new();
    let tasks = if quick { &TASKS[..QUICK_TASKS] } else { &TASKS };
    for task in tasks.iter().copied() {
        let theirs = || match task {
            Task::Decode { sessions, context } => {
                torch.borrow_mut().decode(sessions, context, STEPS)
            }
            Task::Prompt(tokens) => torch.borrow_mut().prompt(tokens),
        };
        let subjects = vec![
            Subject::new(|| Ok(vec![ours.run(task)?])),
            Subject::new(|| Ok(vec![theirs()?])),
        ];
        let name = format!("{BENCH}, {} {}", stack.shape.name, title(task));
        let effort = Effort::new(9, quick, 3);
        let rounds = Rounds::measure_beside_stream(&name, effort, host::cores(), subjects)?;
        figures.extend(compared(stack, task, &rounds));
    }
    Ok(figures)
}

fn title(task: Task) -> String {
    match task {
        Task::Decode { sessions, context } => format!("{sessions} x {context}"),
        Task::Prompt(tokens) => format!("prompt {tokens}"),
    }
}

fn compared(stack: Stack, task: Task, rounds: &Rounds) -> Vec<Figure> {
    let name = |what: &str| format!("{}, {}{what}", stack.shape.name, title(task));
    // A prompt is limited by arithmetic, a step by memory.
    let ratio = match task {
        Task::Decode { .. } => rounds.stream_ratio(1, 0),
        Task::Prompt(_) => rounds.ratio(1, 0),
    };
    let mut speed = Figure::new(BENCH, name(", speed"), ratio, "x torch");
    if let Task::Decode {
        sessions: 1,
        context,
    } = task
    {
        let goal = GOALS
            .iter()
            .find(|(shape, of, _)| (*shape, *of) == (stack.shape.name, context));
        if let Some((_, _, goal)) = goal {
            speed = speed.with_goal(Goal::AtLeast(*goal));
        }
    }
    let per_block =
        |index: usize| rounds.spread(move |seconds| seconds[index] / stack.blocks as f64 * 1e3);
    vec![
        speed,
        Figure::new(BENCH, name(", ours"), per_block(0), "ms/block"),
        Figure::new(BENCH, name(", torch"), per_block(1), "ms/block"),
    ]
}
