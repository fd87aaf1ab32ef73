//! Rounds of interleaved measurements: probe, every subject in turn, probe.
//!
//! On a shared machine absolute times drift by tens of percent from minute to minute; the ratio of two neighbours in
//! one round does not. Rounds during which the memory changed its mode or others used the machine are dropped. Where memory
//! is what limits the subjects, the stream is read next to each of them, too.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::host::CpuTimes;
use crate::probe::{Probe, differ};
use crate::spread::Spread;

/// Share of the machine above which other processes spoil a round.
const MAX_FOREIGN_SHARE: f64 = 0.05;

/// Fewer rounds than these make no median: then the least disturbed ones count, and stderr says so.
const MIN_QUIET_ROUNDS: usize = 5;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Quiet rounds wanted.
    pub(crate) rounds: usize,
    /// No round begins after this.
    pub(crate) time: Duration,
}

impl Effort {
    /// `rounds` quiet ones within a few minutes; with `quick` within `quick_seconds`, however noisy.
    pub(crate) fn new(rounds: usize, quick: bool, quick_seconds: u64) -> Self {
        const PATIENCE: Duration = Duration::from_secs(240);
        let time = if quick {
            Duration::from_secs(quick_seconds)
        } else {
            PATIENCE
        };
        Self { rounds, time }
    }
}

/// Something to measure: gives one or more numbers a round.
pub(crate) struct Subject<'a>(Box<dyn FnMut() -> Result<Vec<f64>> + 'a>);

impl<'a> Subject<'a> {
    /// Measures with `run`, which gives equally many numbers every time.
    pub(crate) fn new(run: impl FnMut() -> Result<Vec<f64>> + 'a) -> Self {
        Self(Box::new(run))
    }

    /// The seconds that `run` takes.
    pub(crate) fn timed(mut run: impl FnMut() -> Result<()> + 'a) -> Self {
        Self::new(move || {
            let started = Instant::now();
            run()?;
            Ok(vec![started.elapsed().as_secs_f64()])
        })
    }
}

/// What one round gave.
#[derive(Debug)]
struct Round {
    values: Vec<f64>,
    /// For each value GB/s of the stream next to it; empty where it was not read.
    streams: Vec<f64>,
    foreign_share: f64,
    flipped: bool,
}

impl Round {
    fn run(
        probe: &Probe,
        stream_threads: Option<usize>,
        subjects: &mut [Subject<'_>],
    ) -> Result<Self> {
        let before = (probe.rates(), CpuTimes::now());
        let (mut values, mut streams, mut flipped) = (Vec::new(), Vec::new(), false);
        let mut last = stream_threads.map(|threads| probe.stream(threads));
        for subject in subjects {
            let given = (subject.0)()?;
            if let (Some(threads), Some(stream)) = (stream_threads, last) {
                let next = probe.stream(threads);
                flipped |= differ(stream, next);
                streams.extend(given.iter().map(|_| f64::midpoint(stream, next)));
                last = Some(next);
            }
            values.extend(given);
        }
        Ok(Self {
            values,
            streams,
            foreign_share: CpuTimes::now().foreign_share(before.1),
            flipped: flipped || before.0.flipped(probe.rates()),
        })
    }

    fn is_quiet(&self) -> bool {
        !self.flipped && self.foreign_share <= MAX_FOREIGN_SHARE
    }
}

/// The rounds that count.
#[derive(Debug)]
pub(crate) struct Rounds(Vec<Round>);

impl Rounds {
    /// Measures `subjects` in turn, after one round to warm up.
    ///
    /// # Errors
    /// The first of a subject.
    pub(crate) fn measure(bench: &str, effort: Effort, subjects: Vec<Subject<'_>>) -> Result<Self> {
        Self::collect(bench, effort, None, subjects)
    }

    /// As [`Rounds::measure`], with the stream of `threads` threads read before and after every subject.
    ///
    /// # Errors
    /// The first of a subject.
    pub(crate) fn measure_beside_stream(
        bench: &str,
        effort: Effort,
        threads: usize,
        subjects: Vec<Subject<'_>>,
    ) -> Result<Self> {
        Self::collect(bench, effort, Some(threads), subjects)
    }

    fn collect(
        bench: &str,
        effort: Effort,
        stream_threads: Option<usize>,
        mut subjects: Vec<Subject<'_>>,
    ) -> Result<Self> {
        let probe = Probe::new()?;
        let begun = Instant::now();
        for subject in &mut subjects {
            (subject.0)()?;
        }
        let mut rounds: Vec<Round> = Vec::new();
        let is_enough = |rounds: &[Round]| {
            let quiet = rounds.iter().filter(|round| round.is_quiet()).count();
            quiet >= effort.rounds
        };
        while rounds.is_empty() || (begun.elapsed() < effort.time && !is_enough(&rounds)) {
            rounds.push(Round::run(&probe, stream_threads, &mut subjects)?);
        }
        Ok(Self(chosen(bench, rounds)))
    }

    /// Over the rounds, what `of` makes of the numbers of all subjects, which are in their order.
    pub(crate) fn spread(&self, of: impl Fn(&[f64]) -> f64) -> Spread {
        Spread::of(self.0.iter().map(|round| of(&round.values)))
    }

    /// As [`Rounds::spread`], with GB/s of the stream next to each number; rounds that give `None` do not count. `None`
    /// if no round counts.
    pub(crate) fn beside_stream(
        &self,
        of: impl Fn(&[f64], &[f64]) -> Option<f64>,
    ) -> Option<Spread> {
        let values = self
            .0
            .iter()
            .filter_map(|round| of(&round.values, &round.streams));
        let values: Vec<f64> = values.collect();
        (!values.is_empty()).then(|| Spread::of(values))
    }

    /// Over the rounds, how many times as long as number `base` number `number` takes, each in units of what the stream
    /// next to it reads: the ratio of two subjects that memory limits.
    pub(crate) fn stream_ratio(&self, number: usize, base: usize) -> Spread {
        let streamed = |round: &Round, index: usize| round.values[index] * round.streams[index];
        let ratios = self
            .0
            .iter()
            .map(|round| streamed(round, number) / streamed(round, base));
        Spread::of(ratios)
    }

    /// Over the rounds, one number as a ratio to another.
    pub(crate) fn ratio(&self, number: usize, base: usize) -> Spread {
        self.spread(|values| values[number] / values[base])
    }
}

/// The quiet rounds; where there are too few, the least disturbed ones.
fn chosen(bench: &str, mut rounds: Vec<Round>) -> Vec<Round> {
    let all = rounds.len();
    let quiet = rounds.iter().filter(|round| round.is_quiet()).count();
    rounds.sort_by(|a, b| {
        let disturbed = |round: &Round| (!round.is_quiet(), round.foreign_share);
        disturbed(a)
            .partial_cmp(&disturbed(b))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    rounds.truncate(quiet.max(MIN_QUIET_ROUNDS));
    let kept = rounds.len();
    if kept > quiet {
        eprintln!(
            "{bench}: {all} rounds, {quiet} of them quiet: the {kept} least disturbed count; the machine is busy"
        );
    } else {
        eprintln!("{bench}: {kept} of {all} rounds were quiet and count");
    }
    rounds
}
