//! Median and percentiles of a few numbers.

/// What the rounds of one figure look like together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) p10: f64,
    pub(crate) p90: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        Self {
            median: percentile(&mut values, 0.5),
            p10: percentile(&mut values, 0.1),
            p90: percentile(&mut values, 0.9),
        }
    }

    /// A number that does not vary, such as a size.
    pub(crate) fn exact(value: f64) -> Self {
        Self {
            median: value,
            p10: value,
            p90: value,
        }
    }
}

/// The value below which the share `share` of `values` lies; NaN of none. Sorts them.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}
