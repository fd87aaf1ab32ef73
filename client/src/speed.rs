//! How fast a server has answered lately. Pure: measured times and the time of day come in.
//!
//! A step is taken as one round trip plus work in proportion to the blocks (and, for longer steps, to the tokens). Means
//! follow the newest samples; the tail is kept as a multiple of the mean, so that it holds for other steps, too.

use std::time::{Duration, Instant};

/// How long a step at one server takes, its way there and back included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepEstimate {
    /// As a rule.
    pub typical: Duration,
    /// When it is slow; at least `typical`.
    pub tail: Duration,
}

/// The shape of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepSize {
    /// Blocks that it goes through.
    pub blocks: usize,
    /// New tokens, over all sequences.
    pub tokens: usize,
}

/// What was measured of one server.
#[derive(Debug, Clone, Default)]
pub struct Speed {
    decode: Option<Track>,
    prefill: Option<Track>,
}

/// Weight of the newest sample. Petals smooths its pings by the same figure.
const SMOOTHING: f64 = 0.2;
/// The same for the deviation, as TCP does (RFC 6298).
const DEVIATION_SMOOTHING: f64 = 0.25;
/// Deviations that the tail lies above the mean (RFC 6298).
const TAIL_DEVIATIONS: f64 = 4.0;
/// How much of a slow step's excess is still expected one step later: half of it after 14 steps.
const PEAK_DECAY: f64 = 0.95;
/// The tail is at most this many times the mean above it: one stall must not teach us to wait for stalls.
const MAX_EXCESS: f64 = 9.0;
/// One sample counts at most this many times the mean so far.
const MAX_SAMPLE: f64 = 8.0;
/// Expected deviation after the first sample (RFC 6298).
const FIRST_DEVIATION: f64 = 0.5;
/// Figures without a new sample are forgotten: a server that was slow gets another chance. As long as Petals' pings.
const LIFE: Duration = Duration::from_secs(300);
/// No estimate is longer, whatever a record claims: the reference's limit for one request.
const LONGEST: Duration = Duration::from_secs(180);
/// Below this a sample is noise of the clock.
const SHORTEST_SECONDS: f64 = 1e-7;
/// How many times the typical time a server may take of which only claims are known.
const CLAIM_TAIL: f64 = 3.0;
/// Packing, unpacking and queueing at a server of which only claims are known. Petals' figure.
const CLAIM_OVERHEAD: f64 = 0.018;

/// A mean that follows its samples, and how far they stray.
#[derive(Debug, Clone, Copy)]
struct Track {
    /// Seconds per unit of work.
    mean: f64,
    /// Usual distance from the mean, as a share of it.
    deviation: f64,
    /// Largest excess over the mean lately, as a share of it.
    peak: f64,
    measured: Instant,
}

impl Track {
    fn first(sample: f64, now: Instant) -> Self {
        Self {
            mean: sample,
            deviation: FIRST_DEVIATION,
            peak: 0.0,
            measured: now,
        }
    }

    fn add(&mut self, sample: f64, now: Instant) {
        let excess = (sample / self.mean - 1.0).min(MAX_EXCESS);
        self.deviation += DEVIATION_SMOOTHING * (excess.abs() - self.deviation);
        self.peak = (self.peak * PEAK_DECAY).max(excess);
        self.mean += SMOOTHING * (sample.min(self.mean * MAX_SAMPLE) - self.mean);
        self.measured = now;
    }

    fn tail_excess(&self) -> f64 {
        (TAIL_DEVIATIONS * self.deviation)
            .max(self.peak)
            .clamp(0.0, MAX_EXCESS)
    }
}

fn add(track: &mut Option<Track>, sample: f64, now: Instant) {
    let sample = sample.max(SHORTEST_SECONDS);
    match track {
        Some(track) if is_fresh(track, now) => track.add(sample, now),
        _ => *track = Some(Track::first(sample, now)),
    }
}

fn is_fresh(track: &Track, now: Instant) -> bool {
    now.saturating_duration_since(track.measured) < LIFE
}

impl Speed {
    /// Notes a step that was answered after `took`, by a server whose round trip is `round_trip`. Steps without tokens
    /// or blocks say nothing, nor do those quicker than a round trip: another server handed them on, closer to this one
    /// than we are.
    pub fn record(
        &mut self,
        size: StepSize,
        took: Duration,
        round_trip: Option<Duration>,
        now: Instant,
    ) {
        if size.tokens == 0 || size.blocks == 0 {
            return;
        }
        let Some(work) = took.checked_sub(round_trip.unwrap_or_default()) else {
            return;
        };
        let per_block = work.as_secs_f64() / size.blocks as f64;
        if size.tokens == 1 {
            add(&mut self.decode, per_block, now);
        } else {
            add(&mut self.prefill, per_block / size.tokens as f64, now);
        }
    }

    /// A one-token step through one block, the round trip aside; `None` without a fresh sample.
    #[must_use]
    pub fn per_block(&self, now: Instant) -> Option<Duration> {
        let decode = self.decode.filter(|track| is_fresh(track, now))?;
        Some(bounded(decode.mean))
    }

    /// What a step will take; `None` without a fresh sample that says so.
    #[must_use]
    pub fn estimate(
        &self,
        size: StepSize,
        round_trip: Option<Duration>,
        now: Instant,
    ) -> Option<StepEstimate> {
        let blocks = size.blocks as f64;
        let decode = self.decode.filter(|track| is_fresh(track, now));
        let prefill = self.prefill.filter(|track| is_fresh(track, now));
        let one = decode.map(|track| (track.mean * blocks, track.tail_excess()));
        let many = prefill.map(|track| {
            (
                track.mean * blocks * size.tokens as f64,
                track.tail_excess(),
            )
        });
        let (work, excess) = if size.tokens <= 1 {
            one?
        } else {
            // A few tokens take as long as one.
            let (work, excess) = many?;
            one.filter(|(floor, _)| *floor > work)
                .unwrap_or((work, excess))
        };
        let way = round_trip.unwrap_or_default().as_secs_f64();
        Some(StepEstimate {
            typical: bounded(way + work),
            tail: bounded((way + work) * (1.0 + excess)),
        })
    }

    /// Whether nothing fresh is left of it.
    #[must_use]
    pub fn is_forgotten(&self, now: Instant) -> bool {
        let tracks = [&self.decode, &self.prefill];
        !tracks
            .into_iter()
            .flatten()
            .any(|track| is_fresh(track, now))
    }
}

/// What a step will take by the server's own claims, in steps (`inference_rps`) and tokens (`forward_rps`) per second
/// through one block; `None` without the claim that is needed.
#[must_use]
pub fn claimed_estimate(
    size: StepSize,
    inference_rps: Option<f64>,
    forward_rps: Option<f64>,
    round_trip: Option<Duration>,
) -> Option<StepEstimate> {
    let usable = |rate: &f64| rate.is_finite() && *rate > 0.0;
    let blocks = size.blocks as f64;
    let one = inference_rps.filter(usable).map(|rate| blocks / rate);
    let work = if size.tokens <= 1 {
        one?
    } else {
        let rate = forward_rps.filter(usable)?;
        (blocks * size.tokens as f64 / rate).max(one.unwrap_or_default())
    };
    let way = round_trip.unwrap_or_default().as_secs_f64();
    let typical = way + CLAIM_OVERHEAD + work;
    Some(StepEstimate {
        typical: bounded(typical),
        tail: bounded(typical * CLAIM_TAIL),
    })
}

fn bounded(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(LONGEST, |time| time.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: StepSize = StepSize {
        blocks: 4,
        tokens: 1,
    };

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn near(one: Duration, other: Duration) -> bool {
        one.abs_diff(other) < Duration::from_micros(10)
    }

    #[test]
    fn one_sample_makes_an_estimate_that_scales_with_blocks_but_not_with_the_way() {
        let now = Instant::now();
        let mut speed = Speed::default();
        assert_eq!(speed.estimate(ONE, None, now), None);
        speed.record(ONE, ms(50), Some(ms(10)), now);
        let estimate = |blocks| {
            let size = StepSize { blocks, tokens: 1 };
            speed.estimate(size, Some(ms(10)), now).unwrap()
        };
        assert!(near(estimate(4).typical, ms(50)));
        assert!(near(estimate(8).typical, ms(90)));
        assert!(near(estimate(4).tail, ms(150)));
        assert!(near(speed.per_block(now).unwrap(), ms(10)));
    }

    #[test]
    fn steady_steps_bring_the_tail_down_and_slow_ones_bring_it_up() {
        let now = Instant::now();
        let mut speed = Speed::default();
        for _ in 0..50 {
            speed.record(ONE, ms(20), None, now);
        }
        let calm = speed.estimate(ONE, None, now).unwrap();
        assert!(near(calm.typical, ms(20)) && calm.tail < ms(21));
        speed.record(ONE, ms(60), None, now);
        let shaken = speed.estimate(ONE, None, now).unwrap();
        assert!(shaken.tail > ms(60) && shaken.tail < ms(120));
        speed.record(ONE, Duration::from_secs(100), None, now);
        let stalled = speed.estimate(ONE, None, now).unwrap();
        assert!(stalled.tail < ms(1000), "{stalled:?}");
        for _ in 0..60 {
            speed.record(ONE, ms(20), None, now);
        }
        assert!(speed.estimate(ONE, None, now).unwrap().tail < ms(40));
    }

    #[test]
    fn a_server_that_becomes_slow_is_slow_after_a_few_steps() {
        let now = Instant::now();
        let mut speed = Speed::default();
        speed.record(ONE, ms(10), None, now);
        for _ in 0..6 {
            speed.record(ONE, ms(1000), None, now);
        }
        assert!(speed.estimate(ONE, None, now).unwrap().typical > ms(500));
    }

    #[test]
    fn long_steps_scale_with_tokens_and_never_fall_below_one_token() {
        let now = Instant::now();
        let mut speed = Speed::default();
        let many = |tokens| StepSize { blocks: 4, tokens };
        speed.record(many(128), ms(128), None, now);
        assert_eq!(speed.estimate(ONE, None, now), None);
        speed.record(ONE, ms(20), None, now);
        let typical = |tokens| speed.estimate(many(tokens), None, now).unwrap().typical;
        assert!(near(typical(256), ms(256)));
        assert!(near(typical(2), ms(20)));
    }

    #[test]
    fn old_figures_are_forgotten_and_empty_steps_say_nothing() {
        let now = Instant::now();
        let mut speed = Speed::default();
        speed.record(StepSize { tokens: 0, ..ONE }, ms(20), None, now);
        speed.record(ONE, ms(20), Some(ms(21)), now);
        assert!(speed.is_forgotten(now));
        speed.record(ONE, ms(20), None, now);
        assert!(!speed.is_forgotten(now) && speed.is_forgotten(now + LIFE));
        assert_eq!(speed.estimate(ONE, None, now + LIFE), None);
        speed.record(ONE, ms(50), None, now + LIFE);
        let anew = speed.estimate(ONE, None, now + LIFE).unwrap();
        assert!(near(anew.typical, ms(50)));
    }

    #[test]
    fn claims_make_an_estimate_only_if_they_are_numbers() {
        let size = StepSize {
            blocks: 4,
            tokens: 100,
        };
        let estimate = claimed_estimate(ONE, Some(400.0), None, Some(ms(10))).unwrap();
        assert!(near(estimate.typical, ms(38)) && near(estimate.tail, ms(114)));
        assert_eq!(claimed_estimate(size, Some(400.0), None, None), None);
        let long = claimed_estimate(size, Some(400.0), Some(40_000.0), None).unwrap();
        assert!(near(long.typical, ms(28)));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(claimed_estimate(ONE, Some(bad), None, None), None);
        }
        assert!(
            claimed_estimate(ONE, Some(1e-300), None, None)
                .unwrap()
                .tail
                <= LONGEST
        );
    }

    proptest! {
        #[test]
        fn no_sample_makes_an_estimate_absurd(
            samples in prop::collection::vec((0_u64..u64::MAX, 0_usize..600, 0_usize..100_000), 0..50)
        ) {
            let now = Instant::now();
            let mut speed = Speed::default();
            for (nanoseconds, blocks, tokens) in samples {
                let size = StepSize { blocks, tokens };
                speed.record(size, Duration::from_nanos(nanoseconds), None, now);
                for size in [size, ONE] {
                    if let Some(estimate) = speed.estimate(size, None, now) {
                        prop_assert!(estimate.typical <= estimate.tail && estimate.tail <= LONGEST);
                    }
                }
            }
        }
    }
}
