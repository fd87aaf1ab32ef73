//! The key `swarm`: how an answer came about, for our page and for the curious.

use serde_json::{Value, json};

use crate::answer::Account;

/// Of the choices of one answer: route, first token and speed of the first, repairs of all.
pub(super) fn json<'a>(accounts: impl IntoIterator<Item = &'a Account>) -> Value {
    let mut accounts = accounts.into_iter();
    let first = accounts.next().cloned().unwrap_or_default();
    let failovers: u64 = first.failovers + accounts.map(|account| account.failovers).sum::<u64>();
    let route = first.route.iter().map(|stop| {
        json!({
            "peer": stop.peer.to_string(),
            "blocks": format!("{}:{}", stop.blocks.start, stop.blocks.end),
        })
    });
    json!({
        "route": route.collect::<Vec<_>>(),
        "ttft_ms": first.first_token_ms.map(rounded),
        "tokens_per_second": first.tokens_per_second.map(rounded),
        "failovers": failovers,
    })
}

/// To a thousandth: more is noise.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
