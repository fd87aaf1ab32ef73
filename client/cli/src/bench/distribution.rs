//! How values are spread. Pure.

use serde::Serialize;

/// A summary of values; all zero without any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Distribution {
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Distribution {
    /// Quantiles by the nearest rank: each is one of the values.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100);
            values.get(rank.saturating_sub(1)).copied()
        };
        let Some(max) = values.last().copied() else {
            return Self::default();
        };
        Self {
            mean: values.iter().sum::<f64>() / values.len() as f64,
            p50: rank(50).unwrap_or(max),
            p90: rank(90).unwrap_or(max),
            p99: rank(99).unwrap_or(max),
            max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_by_nearest_rank() {
        let all = Distribution::of((1..=100).rev().map(f64::from));
        let expected = Distribution {
            mean: 50.5,
            p50: 50.0,
            p90: 90.0,
            p99: 99.0,
            max: 100.0,
        };
        assert_eq!(all, expected);
        let few = Distribution::of([3.0, 1.0, 2.0]);
        assert_eq!((few.p50, few.p90, few.mean), (2.0, 3.0, 2.0));
        assert_eq!(Distribution::of([]), Distribution::default());
    }
}
