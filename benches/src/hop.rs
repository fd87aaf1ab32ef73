//! `hop`: what a step costs beyond the server's arithmetic, against a bare echo of the same bytes.
//!
//! Client and server are two nodes on loopback, each with a runtime of its own. The echo is a stream between the same
//! two nodes whose server side returns what comes, cut to the size of the step's answer. A second echo hands every message
//! to another thread and back before it answers, as a server does whose arithmetic always has a thread of its own.
//! Steps and echoes take turns.

mod endpoints;
mod other_thread;

use std::time::Instant;

use anyhow::{Context, Result};
use block_client::{Hop, HopStep};
use block_model::{BlockSpan, CpuOptions, CpuSpan, ModelSource, SpanDType};
use block_network::ClientStream;
use block_protocol::compression::encode_f32;
use block_protocol::{Compression, DType, WireTensor};
use bytes::Bytes;

use crate::figure::{Figure, Goal};
use crate::models;
use crate::rounds::{Effort, Rounds, Subject};
use crate::spread::percentile;
use crate::timed_span::{CopyingSpan, LastStep, TimedSpan};
use endpoints::{Endpoints, PATIENCE};

const BENCH: &str = "hop";

/// Steps and echoes of one round: 95th percentiles need some, and CPU accounting needs a fifth of a second.
const STEPS: usize = 200;

/// Tokens of the sessions: every step of every round, with room.
const MAX_LENGTH: usize = 512;

/// Width of an 8B model.
const WIDE: usize = 4096;

/// What a step has beside its tensor on the wire.
const METADATA_BYTES: usize = 160;

/// Goals: the overhead's median and 95th percentile as multiples of the echo's median.
const MEDIAN_GOAL: Goal = Goal::AtMost(2.5);
const P95_GOAL: Goal = Goal::AtMost(4.0);

/// Goal: microseconds that a whole step adds to the bare span, where 5% of the span's time is less.
const SERVER_GOAL: Goal = Goal::AtMost(150.0);

/// One kind of step to measure.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    codec: Compression,
    has_goal: bool,
}

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let source = ModelSource::directory(models::fable())?;
    let options = CpuOptions {
        threads: Some(1),
        ..CpuOptions::new(SpanDType::F32)
    };
    let embedded = || CpuSpan::load(&source, 0..8, &options);
    let mut figures = measure(
        embedded()?,
        &Kind {
            name: "fable-7m, float32",
            codec: Compression::None,
            has_goal: true,
        },
        quick,
    )?;
    let eight_bit = Kind {
        name: "fable-7m, blockwise8-implied",
        codec: Compression::Blockwise8Implied,
        has_goal: true,
    };
    figures.extend(measure(embedded()?, &eight_bit, quick)?);
    let wide = Kind {
        name: "no arithmetic, 4096 wide, float32",
        codec: Compression::None,
        has_goal: false,
    };
    figures.extend(measure(CopyingSpan::new(WIDE), &wide, quick)?);
    Ok(figures)
}

/// Figures of one kind of step through `span`.
fn measure(span: impl BlockSpan + 'static, kind: &Kind, quick: bool) -> Result<Vec<Figure>> {
    let description = span.description().clone();
    let last = LastStep::default();
    let span = TimedSpan {
        span,
        last: last.clone(),
    };
    let endpoints = Endpoints::start(Box::new(span))?;
    let values = models::hidden_states(1, description.hidden);
    let shape = [1, 1, description.hidden];
    let input = encode_f32(&values, &shape, DType::F32, kind.codec)?;
    let mut echoes = Some((endpoints.open_echo()?, endpoints.open_handed_echo()?));
    let rounds = Rounds::measure(
        &format!("{BENCH}, {}", kind.name),
        Effort::new(15, quick, 10),
        vec![Subject::new(|| {
            // A new session, so that no round has a longer cache than another.
            let (echo, handed_echo) = echoes.take().context("they are back after each round")?;
            let turns = Turns {
                hop: endpoints.open_hop(MAX_LENGTH, kind.codec)?,
                echo,
                handed_echo,
                input: input.clone(),
                last: last.clone(),
            };
            let (turns, figures) = endpoints.run(turns.take())?;
            echoes = Some((turns.echo, turns.handed_echo));
            Ok(figures)
        })],
    )?;
    drop(echoes);
    endpoints.close();
    let goal = |figure: Figure, goal| {
        if kind.has_goal {
            figure.with_goal(goal)
        } else {
            figure
        }
    };
    let figure = |name: &str, spread, unit| {
        Figure::new(BENCH, format!("{}, {name}", kind.name), spread, unit)
    };
    Ok(vec![
        goal(
            figure("overhead p50", rounds.ratio(0, 2), "x echo"),
            MEDIAN_GOAL,
        ),
        goal(
            figure("overhead p95", rounds.ratio(1, 2), "x echo"),
            P95_GOAL,
        ),
        figure("echo", rounds.spread(|values| values[2] * 1e6), "us"),
        goal(
            figure(
                "overhead p50 less the echo",
                rounds.spread(|values| (values[0] - values[2]) * 1e6),
                "us",
            ),
            SERVER_GOAL,
        ),
        figure("echo by another thread p50", rounds.ratio(3, 2), "x echo"),
        figure("echo by another thread p95", rounds.ratio(4, 2), "x echo"),
    ])
}

/// Steps and echoes by turns.
struct Turns {
    hop: Hop,
    echo: ClientStream,
    handed_echo: ClientStream,
    input: WireTensor,
    last: LastStep,
}

impl Turns {
    /// [`STEPS`] of each; gives the overhead's median and 95th percentile, the echo's median, and those of the echo by another
    /// thread, in seconds.
    async fn take(mut self) -> Result<(Self, Vec<f64>)> {
        let body = Bytes::from(vec![0; self.input.buffer.len() + METADATA_BYTES]);
        let mut overheads = Vec::with_capacity(STEPS);
        let mut echoes = Vec::with_capacity(STEPS);
        let mut handed_echoes = Vec::with_capacity(STEPS);
        // The first one opens the session.
        self.overhead().await?;
        for _ in 0..STEPS {
            overheads.push(self.overhead().await?);
            echoes.push(echo(&mut self.echo, &body).await?);
            handed_echoes.push(echo(&mut self.handed_echo, &body).await?);
        }
        let figures = vec![
            percentile(&mut overheads, 0.5),
            percentile(&mut overheads, 0.95),
            percentile(&mut echoes, 0.5),
            percentile(&mut handed_echoes, 0.5),
            percentile(&mut handed_echoes, 0.95),
        ];
        Ok((self, figures))
    }

    /// Seconds of one step at the client, less those that the span computed.
    async fn overhead(&mut self) -> Result<f64> {
        let step = HopStep::new(self.input.clone());
        let started = Instant::now();
        self.hop.step(step).await?;
        Ok(started.elapsed().as_secs_f64() - self.last.seconds())
    }
}

/// Seconds of one echo.
async fn echo(stream: &mut ClientStream, body: &Bytes) -> Result<f64> {
    let started = Instant::now();
    stream.send(body.clone()).await?;
    let answer = stream.recv_within(PATIENCE).await?;
    answer.context("the echo ended")?;
    Ok(started.elapsed().as_secs_f64())
}
