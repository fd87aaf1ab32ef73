//! `vs-petals`: whole servers side by side in float32, one compute thread each: one text by the same `swarm run`, and up to 16
//! sessions at once by the same load generator.

mod sessions;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::figure::{Figure, Goal};
use crate::format::Format;
use crate::models::{self, ONE_BILLION, Stack};
use crate::processes::{BlockServer, Holding, PetalsServer, program};
use crate::rounds::{Effort, Rounds, Subject};
use sessions::Generator;

const BENCH: &str = "vs-petals";

/// Blocks of the embedded model.
const FABLE_BLOCKS: usize = 8;

/// Of the random one: enough that one token reads far more than the caches hold.
const LARGE_BLOCKS: usize = 8;
const QUICK_LARGE_BLOCKS: usize = 4;

/// What is asked of every server; ids that all models have.
const PROMPT: &str = "5,17,100,33,258,71,9,640";

/// One model at one server of each kind.
#[derive(Debug)]
struct Case {
    name: String,
    model: PathBuf,
    blocks: usize,
    /// New tokens of one run.
    tokens: usize,
    /// How many times as fast ours must be.
    goal: f64,
    /// Width, if many sessions are measured, too.
    crowd: Option<usize>,
}

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let large_blocks = if quick {
        QUICK_LARGE_BLOCKS
    } else {
        LARGE_BLOCKS
    };
    let large = Stack {
        shape: &ONE_BILLION,
        blocks: large_blocks,
    };
    let cases = [
        Case {
            name: "fable-7m".to_owned(),
            model: models::fable(),
            blocks: FABLE_BLOCKS,
            tokens: 48,
            goal: 5.0,
            crowd: None,
        },
        Case {
            name: format!("1B shape, {large_blocks} blocks"),
            model: large.checkpoint()?,
            blocks: large_blocks,
            tokens: 12,
            goal: 1.0,
            crowd: Some(ONE_BILLION.hidden),
        },
    ];
    // Both at once, since imports take most of the time; an idle server costs nothing.
    let sides: Vec<Sides> = cases.iter().map(Sides::start).collect::<Result<_>>()?;
    let mut figures = Vec::new();
    for (case, sides) in cases.iter().zip(&sides) {
        figures.extend(sides.compare(case, quick)?);
        if let Some(hidden) = case.crowd {
            figures.extend(sides.compare_crowds(case, hidden, quick)?);
        }
    }
    Ok(figures)
}

/// A server of each kind for one case, in one swarm.
struct Sides {
    ours: BlockServer,
    _petals: PetalsServer,
}

const OURS: &str = "bench-ours";
const PETALS: &str = "bench-petals";

impl Sides {
    fn start(case: &Case) -> Result<Self> {
        let holding = |prefix| Holding {
            model: &case.model,
            prefix,
            blocks: 0..case.blocks,
            format: Format::F32,
        };
        let ours = BlockServer::start(&holding(OURS), None)?;
        let petals = PetalsServer::start(&holding(PETALS), &ours.address)?;
        Ok(Self {
            ours,
            _petals: petals,
        })
    }

    fn compare(&self, case: &Case, quick: bool) -> Result<Vec<Figure>> {
        let swarm = program("swarm")?;
        let side = |prefix: &'static str| {
            let swarm = &swarm;
            Subject::new(move || {
                let rate = generate(swarm, case, prefix, &self.ours.address)?;
                Ok(vec![rate])
            })
        };
        let name = format!("{BENCH}, {}", case.name);
        let effort = Effort::new(9, quick, 8);
        let rounds = Rounds::measure(&name, effort, vec![side(OURS), side(PETALS)])?;
        let figure = |what: &str, spread, unit| {
            Figure::new(BENCH, format!("{}, {what}", case.name), spread, unit)
        };
        let goal = Goal::AtLeast(case.goal);
        Ok(vec![
            figure("tokens/s", rounds.ratio(0, 1), "x Petals").with_goal(goal),
            figure("ours", rounds.spread(|rates| rates[0]), "tokens/s"),
            figure("Petals", rounds.spread(|rates| rates[1]), "tokens/s"),
        ])
    }

    /// Tokens a second of all sessions together, which come at once.
    fn compare_crowds(&self, case: &Case, hidden: usize, quick: bool) -> Result<Vec<Figure>> {
        let generator = Generator::join(&self.ours.address, case.blocks, hidden)?;
        let [.., most] = CROWDS;
        let crowds = if quick {
            &CROWDS[CROWDS.len() - 1..]
        } else {
            &CROWDS
        };
        let mut figures = Vec::new();
        for sessions in crowds.iter().copied() {
            let side = |prefix: &'static str| {
                let generator = &generator;
                Subject::new(move || Ok(vec![generator.tokens_per_second(prefix, sessions)?]))
            };
            let name = format!("{BENCH}, {}, {sessions} sessions", case.name);
            let effort = Effort::new(7, quick, 6);
            let rounds = Rounds::measure(&name, effort, vec![side(OURS), side(PETALS)])?;
            let figure = |what: &str, spread, unit| {
                let title = format!("{}, {sessions} sessions{what}", case.name);
                Figure::new(BENCH, title, spread, unit)
            };
            let ratio = figure("", rounds.ratio(0, 1), "x Petals");
            figures.push(if sessions == most {
                ratio.with_goal(CROWD_GOAL)
            } else {
                ratio
            });
            figures.push(figure(
                ", ours",
                rounds.spread(|rates| rates[0]),
                "tokens/s",
            ));
            figures.push(figure(
                ", Petals",
                rounds.spread(|rates| rates[1]),
                "tokens/s",
            ));
        }
        generator.close();
        Ok(figures)
    }
}

/// A crowd is at least so many times as fast as at Petals.
const CROWD_GOAL: Goal = Goal::AtLeast(10.0);

/// Sessions at once; the last number has the goal.
const CROWDS: [usize; 3] = [1, 4, 16];

/// One run of the client; returns the tokens a second after the first one.
fn generate(swarm: &Path, case: &Case, prefix: &str, address: &str) -> Result<f64> {
    let home = TempDir::new()?;
    let output = Command::new(swarm)
        .arg("run")
        .arg(&case.model)
        .args(["--dht-prefix", prefix, "--initial-peers", address])
        .args([
            "--prompt-ids",
            PROMPT,
            "--temperature",
            "0",
            "--ignore-eos",
            "--json",
        ])
        .args(["--activation-codec", "none"])
        .arg("--max-tokens")
        .arg(case.tokens.to_string())
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("swarm")?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        bail!("swarm run: {}: {text}", output.status);
    }
    let summary: Value = serde_json::from_str(text.lines().last().context("a last line")?)?;
    let rate = summary["tokens_per_second"].as_f64();
    rate.with_context(|| format!("no tokens_per_second in {summary}"))
}
