//! `vs-candle`: our engine against the blocks as candle's own operations compute them, in float32, the only type in
//! which they are not slower still on a processor.

use anyhow::Result;
use block_model::{BlockSpan, CandleSpan, ComputeDevice, ModelSource, SpanDType};

use crate::figure::Figure;
use crate::format::Format;
use crate::host;
use crate::models::Stack;
use crate::rounds::{Effort, Rounds, Subject};
use crate::workload::{Sessions, Workload};

const BENCH: &str = "vs-candle";

/// One thing that all sides do in turn.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// One token each for so many sessions of 128 tokens.
    Decode(usize),
    /// One token after 2,048.
    Long,
    /// A prompt of so many tokens.
    Prompt(usize),
}

const TASKS: [(&str, Task); 6] = [
    ("1 x 128", Task::Decode(1)),
    ("prompt 128", Task::Prompt(128)),
    ("1 x 2048", Task::Long),
    ("8 x 128", Task::Decode(8)),
    ("32 x 128", Task::Decode(MOST_SESSIONS)),
    ("prompt 512", Task::Prompt(LONGEST_PROMPT)),
];

/// Those of a quick run come first; they need one session with a short text.
const QUICK_TASKS: usize = 2;

const MOST_SESSIONS: usize = 32;
const SHORT: usize = 128;
const LONG: usize = 2048;
const LONGEST_PROMPT: usize = 512;

/// Steps of one sample.
const STEPS: usize = 2;

/// Ours; candle holds float32 whatever the checkpoint has.
const OURS: [Format; 4] = [Format::F32, Format::Bf16, Format::Int8, Format::Int4];

/// One engine with its sessions.
struct Side {
    workload: Workload,
    short: Sessions,
    long: Sessions,
    prompt: Sessions,
}

impl Side {
    fn new(span: Box<dyn BlockSpan>, quick: bool) -> Result<Self> {
        let (sessions, long) = if quick {
            (1, SHORT)
        } else {
            (MOST_SESSIONS, LONG)
        };
        let workload = Workload::new(span, LONGEST_PROMPT);
        Ok(Self {
            short: workload.open(sessions, SHORT, STEPS)?,
            long: workload.open(1, long, STEPS)?,
            prompt: workload.open(1, 0, LONGEST_PROMPT)?,
            workload,
        })
    }

    /// Seconds of one step or prompt.
    fn run(&self, task: Task) -> Result<f64> {
        match task {
            Task::Decode(sessions) => self.workload.decode(&self.short, sessions, STEPS),
            Task::Long => self.workload.decode(&self.long, 1, STEPS),
            Task::Prompt(tokens) => self.workload.prompt(&self.prompt, tokens),
        }
    }
}

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for stack in Stack::measured(quick) {
        figures.extend(measure(stack, quick)?);
    }
    Ok(figures)
}

fn measure(stack: Stack, quick: bool) -> Result<Vec<Figure>> {
    let model = stack.checkpoint()?;
    let source = ModelSource::directory(&model)?;
    let blocks = 0..stack.blocks;
    let candle = CandleSpan::load(&source, blocks, SpanDType::F32, ComputeDevice::Cpu)?;
    let candle = Side::new(Box::new(candle), quick)?;
    let ours = OURS.map(|format| Side::new(format.load(&model, stack.blocks)?, quick));
    let ours: Vec<Side> = ours.into_iter().collect::<Result<_>>()?;
    let mut figures = Vec::new();
    let tasks = if quick { &TASKS[..QUICK_TASKS] } else { &TASKS };
    for (task_name, task) in tasks.iter().copied() {
        let sides = ours.iter().chain([&candle]);
        let subjects = sides.map(|side| Subject::new(move || Ok(vec![side.run(task)?])));
        let name = format!("{BENCH}, {} {task_name}", stack.shape.name);
        let effort = Effort::new(9, quick, 3);
        let rounds =
            Rounds::measure_beside_stream(&name, effort, host::cores(), subjects.collect())?;
        for (index, format) in OURS.into_iter().enumerate() {
            // Prompts are limited by arithmetic, decoding by memory.
            let ratio = match task {
                Task::Prompt(_) => rounds.ratio(OURS.len(), index),
                Task::Decode(_) | Task::Long => rounds.stream_ratio(OURS.len(), index),
            };
            let title = format!("{} {}, {task_name}", stack.shape.name, format.name());
            figures.push(Figure::new(BENCH, title, ratio, "x candle f32"));
        }
    }
    Ok(figures)
}
