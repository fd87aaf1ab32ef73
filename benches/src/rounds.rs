//! Rounds of paired timings: subjects are timed in turn, and what is reported is the median of per-round ratios.
//!
//! On a shared machine absolute times drift by tens of percent from minute to minute; the ratio of two neighbours
//! in one round does not.

use std::time::Instant;

/// Rounds per comparison: enough for a median that outliers do not move, short enough for a coffee.
pub const ROUNDS: usize = 31;

/// Something to time, with the name it is reported under.
pub struct Subject<'a> {
    name: &'static str,
    run: Box<dyn FnMut() + 'a>,
}

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Subject<'a> {
    /// A subject called `name`.
    pub fn new(name: &'static str, run: impl FnMut() + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}

/// Times `subjects` in [`ROUNDS`] rounds and returns one line each: name, median milliseconds, and the median ratio of its
/// time to the first subject's in the same round.
#[must_use]
pub fn compare(mut subjects: Vec<Subject<'_>>) -> Vec<String> {
    let mut seconds = vec![Vec::with_capacity(ROUNDS); subjects.len()];
    for subject in &mut subjects {
        (subject.run)(); // warm caches and lazy pages
    }
    for _ in 0..ROUNDS {
        for (subject, seconds) in subjects.iter_mut().zip(&mut seconds) {
            let start = Instant::now();
            (subject.run)();
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let base = seconds.first().cloned().unwrap_or_default();
    subjects
        .iter()
        .zip(&seconds)
        .map(|(subject, seconds)| {
            let ratios = seconds
                .iter()
                .zip(&base)
                .map(|(own, base)| own / base)
                .collect();
            format!(
                "{:<40} {:>10.3} ms {:>8.2}x",
                subject.name,
                median(seconds.clone()) * 1e3,
                median(ratios)
            )
        })
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
