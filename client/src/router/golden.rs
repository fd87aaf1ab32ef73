//! The golden vectors of Petals: what its own code gives with the network stubbed out.

use super::tests::{assert_seconds, at, fast, knows, peers, quickest, server, whole};
use super::*;

#[test]
fn one_server_of_which_nothing_is_known() {
    let [a] = peers();
    let (stops, seconds) = quickest(&whole(), &[server(a, 0..8)]);
    assert_eq!(stops, [(0, 0..8)]);
    assert_seconds(seconds, 0.344_667);
}

#[test]
fn two_servers_with_known_pings() {
    let [a, b] = peers();
    let candidates = [
        knows(b, 0.010, at(0.020, fast(a, 0..4, 400.0))),
        at(0.040, fast(b, 4..8, 400.0)),
    ];
    let (stops, seconds) = quickest(&whole(), &candidates);
    assert_eq!(stops, [(0, 0..4), (1, 4..8)]);
    assert_seconds(seconds, 0.091);
}

#[test]
fn two_fast_hops_beat_one_slow_one() {
    let [a, b, c] = peers();
    let candidates = [
        knows(b, 0.005, at(0.020, fast(a, 0..4, 1000.0))),
        at(0.020, fast(b, 4..8, 1000.0)),
        at(0.020, fast(c, 0..8, 100.0)),
    ];
    let (stops, seconds) = quickest(&whole(), &candidates);
    assert_eq!(stops, [(0, 0..4), (1, 4..8)]);
    assert_seconds(seconds, 0.0665);
}

#[test]
fn a_full_cache_loses_to_a_slow_server() {
    let [c, d] = peers();
    let short = Candidate {
        cache_tokens_left: Some(2 * 100 * 8 - 1),
        ..at(0.020, fast(c, 0..8, 1000.0))
    };
    let mut candidates = [short, at(0.020, fast(d, 0..8, 100.0))];
    let (stops, seconds) = quickest(&whole(), &candidates);
    assert_eq!(stops, [(1, 0..8)]);
    assert_seconds(seconds, 0.118);
    candidates[0].cache_tokens_left = Some(2 * 100 * 8);
    assert_eq!(quickest(&whole(), &candidates).0, [(0, 0..8)]);
    let two_sequences = RouteRequest {
        batch: 2,
        ..whole()
    };
    assert_eq!(quickest(&two_sequences, &candidates).0, [(1, 0..8)]);
}

#[test]
fn a_silent_server_loses_to_an_unknown_one() {
    let [a, b] = peers();
    let candidates = [
        at(f64::INFINITY, fast(a, 0..8, 1000.0)),
        fast(b, 0..8, 1000.0),
    ];
    let (stops, seconds) = quickest(&whole(), &candidates);
    assert_eq!(stops, [(1, 0..8)]);
    assert_seconds(seconds, 0.326);
}

#[test]
fn a_server_is_left_at_its_end_and_entered_anywhere() {
    let [a, b] = peers();
    let candidates = [
        knows(b, 0.010, at(0.020, fast(a, 0..6, 300.0))),
        at(0.020, fast(b, 4..8, 3000.0)),
    ];
    let (stops, seconds) = quickest(&whole(), &candidates);
    assert_eq!(stops, [(0, 0..6), (1, 6..8)]);
    assert_seconds(seconds, 0.081_667);
}
