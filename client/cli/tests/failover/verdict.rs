//! What must hold for a generation that lost a server.

use std::time::Duration;

use block_testing::Ending;

/// A generation during which a server was lost.
#[derive(Debug)]
pub(crate) struct Disturbed {
    pub(crate) ending: Ending,
    /// New tokens that the test had read at the moment of the fault.
    pub(crate) seen: usize,
    /// New tokens that were asked for.
    pub(crate) asked: usize,
    pub(crate) prompt_tokens: usize,
    /// What it would have said; may be longer.
    pub(crate) expected: Vec<u32>,
    /// The peers that it was to go through.
    pub(crate) route: Vec<String>,
    /// Which of them was lost.
    pub(crate) lost: usize,
}

/// Tokens that a generation may be ahead of what the test has read of it.
const LEAD_TOKENS: u64 = 16;

impl Disturbed {
    /// What is wrong with it; nothing if it is as it must be.
    pub(crate) fn problems(&self) -> Vec<String> {
        let Ending {
            code, summary, log, ..
        } = &self.ending;
        if *code != Some(0) {
            return vec![format!("exit code {code:?}: {summary}\n{log}")];
        }
        let mut problems = Vec::new();
        let ids = self.ending.ids();
        let same = ids
            .iter()
            .zip(&self.expected)
            .take_while(|(a, b)| a == b)
            .count();
        if same < ids.len() || ids.len() != self.asked {
            problems.push(format!(
                "other text from new token {same} on, of {}",
                ids.len()
            ));
        }
        let [failovers, replayed] =
            ["failovers", "replayed_tokens"].map(|key| self.ending.count(key));
        if failovers == 0 {
            problems.push("no failover".to_owned());
        }
        // One hop's cache: the prompt and all but the last new token; once for each server that took over a part.
        let cached = (self.prompt_tokens + self.seen) as u64;
        let successors = self.ending.route().len() + 1 - self.route.len();
        let times = failovers.max(successors as u64);
        let allowed = cached - 1..=(cached + LEAD_TOKENS) * times;
        if !allowed.contains(&replayed) {
            problems.push(format!("{replayed} tokens replayed, expected {allowed:?}"));
        }
        problems.extend(self.route_problems());
        problems
    }

    /// The longest wait for a next token.
    pub(crate) fn stall(&self) -> Duration {
        self.ending.max_stall()
    }

    /// The hops that lived are where they were, and the lost one is gone.
    fn route_problems(&self) -> Vec<String> {
        let found: Vec<String> = self
            .ending
            .route()
            .into_iter()
            .map(|(peer, ..)| peer)
            .collect();
        let problem = |(hop, peer): (usize, &String)| {
            let is_there = found.contains(peer);
            (is_there == (hop == self.lost))
                .then(|| format!("hop {hop} of the last route {found:?}"))
        };
        self.route.iter().enumerate().filter_map(problem).collect()
    }
}
