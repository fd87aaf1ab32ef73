//! One measured figure, as a line for people or as JSON.

use crate::spread::Spread;

/// What a figure must reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::AtLeast(least) => write!(f, ">= {}", rounded(*least)),
        }
    }
}

/// A number with its spread over the rounds, and the goal it is held against.
#[derive(Debug)]
pub(crate) struct Figure {
    bench: &'static str,
    name: String,
    spread: Spread,
    unit: &'static str,
    goal: Option<Goal>,
}

impl Figure {
    pub(crate) fn new(
        bench: &'static str,
        name: impl Into<String>,
        spread: Spread,
        unit: &'static str,
    ) -> Self {
        Self {
            bench,
            name: name.into(),
            spread,
            unit,
            goal: None,
        }
    }

    pub(crate) fn with_goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// With `tolerance` less to reach, if it must reach a share: part of a whole.
    pub(crate) fn with_easier_share(mut self, tolerance: f64) -> Self {
        if let Some(Goal::AtLeast(least)) = self.goal
            && least < 1.0
        {
            self.goal = Some(Goal::AtLeast(least - tolerance));
        }
        self
    }

    /// `None` without a goal.
    pub(crate) fn met(&self) -> Option<bool> {
        self.goal.map(|goal| goal.is_met(self.spread.median))
    }

    /// One line of JSON; `spread` is the 10th and 90th percentile over the rounds.
    pub(crate) fn json(&self, host: &str) -> String {
        let Spread { median, p10, p90 } = self.spread;
        serde_json::json!({
            "bench": self.bench,
            "figure": self.name,
            "value": rounded(median),
            "spread": [rounded(p10), rounded(p90)],
            "unit": self.unit,
            "goal": self.goal.map(|goal| goal.to_string()),
            "met": self.met(),
            "host": host,
        })
        .to_string()
    }

    /// One row of a Markdown table with the columns of [`MARKDOWN_HEAD`].
    pub(crate) fn markdown(&self) -> String {
        let Spread { median, p10, p90 } = self.spread;
        let goal = self.goal.map(|goal| goal.to_string());
        let met = self.met().map(|met| if met { "yes" } else { "**no**" });
        format!(
            "| {} | {} | {}–{} | {} | {} | {} |",
            self.name,
            significant(median),
            significant(p10),
            significant(p90),
            self.unit,
            goal.unwrap_or_default(),
            met.unwrap_or_default()
        )
    }

    /// One line in columns.
    pub(crate) fn text(&self, host: &str) -> String {
        let Spread { median, p10, p90 } = self.spread;
        let goal = self
            .goal
            .map_or_else(|| "-".to_owned(), |goal| goal.to_string());
        let met = match self.met() {
            None => "-",
            Some(true) => "met",
            Some(false) => "MISSED",
        };
        format!(
            "{:<11} {:<46} {median:>10.4} [{p10:.4}, {p90:.4}] {:<14} {goal:<9} {met:<7} {host}",
            self.bench, self.name, self.unit
        )
    }
}

/// Heads the rows of [`Figure::markdown`].
pub(crate) const MARKDOWN_HEAD: &str =
    "| figure | median | p10–p90 | unit | goal | met |\n|---|---:|---:|---|---|---|";

/// For people: three or four digits.
fn significant(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        small if small >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// Six digits after the point are more than any clock here gives.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
