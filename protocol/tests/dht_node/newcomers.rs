//! Peers that come by themselves: call-backs, floods, clients, clocks.

use block_protocol::dht::{
    CallFailure, DhtConfig, DhtRequest, DhtResponse, Event, Notice, PingRequest, PingResponse,
    StoreRecord, StoreRequest, StoreResponse, Subkey, limits,
};
use bytes::Bytes;

use crate::bench::{Bench, START, availability, calls, id, notices, peer, pong, replies};

#[test]
fn a_newcomer_is_called_back_before_it_is_told_anything() {
    for (answer, available) in [
        (Ok(pong(5, START)), true),
        (Ok(pong(6, START)), false),
        (
            Ok(DhtResponse::Store(StoreResponse {
                node_id: Some(id(5)),
                accepted: Vec::new(),
            })),
            false,
        ),
        (Err(CallFailure::Timeout), false),
    ] {
        let mut bench = Bench::server();
        let actions = bench.ping(1, 5, true);
        assert!(replies(&actions).is_empty());
        let (call, to, request) = calls(&actions).remove(0);
        assert_eq!(to, peer(5));
        assert_eq!(
            request,
            DhtRequest::Ping(PingRequest {
                node_id: Some(id(0)),
                validate: false
            })
        );
        let actions = bench.answer(call, answer);
        assert_eq!(availability(&actions), [available]);
        assert_eq!(bench.knows(5), available);
    }
}

#[test]
fn without_validation_a_ping_is_answered_at_once() {
    let mut bench = Bench::server();
    let actions = bench.ping(1, 5, false);
    let expected = PingResponse {
        node_id: Some(id(0)),
        dht_time: START,
        available: false,
    };
    assert_eq!(replies(&actions), [(1, Ok(DhtResponse::Ping(expected)))]);
    assert!(bench.knows(5));
    let client = DhtRequest::Ping(PingRequest {
        node_id: None,
        validate: true,
    });
    let actions = bench.request(2, 6, client);
    assert_eq!(availability(&actions), [false]);
    assert!(!bench.knows(6), "a client does not enter the table");
}

#[test]
fn a_call_back_that_the_driver_forgets_is_given_up() {
    let mut bench = Bench::server();
    bench.ping(1, 5, true);
    bench.now += 8.0;
    assert_eq!(availability(&bench.feed(Event::Tick)), [false]);
}

#[test]
fn a_flood_of_newcomers_is_bounded_and_everybody_is_answered() {
    let mut bench = Bench::server();
    let mut under_way = Vec::new();
    let mut answered = 0;
    for n in 1..=1000 {
        let actions = bench.ping(u64::from(n), n, true);
        under_way.extend(calls(&actions));
        answered += replies(&actions).len();
    }
    assert_eq!(under_way.len(), limits::MAX_VALIDATIONS);
    assert_eq!(answered, 1000 - limits::MAX_VALIDATIONS);
    for (call, ..) in under_way {
        answered += replies(&bench.answer(call, Err(CallFailure::Timeout))).len();
    }
    assert_eq!(answered, 1000);
    assert_eq!(bench.node.known_node_count(), 0);
}

#[test]
fn pings_of_one_peer_share_a_call_back() {
    let mut bench = Bench::server();
    let (call, ..) = calls(&bench.ping(1, 5, true)).remove(0);
    for number in 2..=20 {
        let actions = bench.ping(number, 5, true);
        assert!(calls(&actions).is_empty());
        let waits = number <= limits::MAX_WAITERS_PER_VALIDATION as u64;
        assert_eq!(replies(&actions).len(), usize::from(!waits));
    }
    let actions = bench.answer(call, Ok(pong(5, START)));
    assert_eq!(
        availability(&actions),
        [true; limits::MAX_WAITERS_PER_VALIDATION]
    );
}

#[test]
fn a_client_serves_nobody_and_tells_no_id() {
    let config = DhtConfig {
        client_mode: true,
        initial_peers: vec![peer(1)],
        ..DhtConfig::new(id(0), peer(0))
    };
    let (mut bench, actions) = Bench::new(config);
    let (_, _, request) = calls(&actions).remove(0);
    assert_eq!(
        request,
        DhtRequest::Ping(PingRequest {
            node_id: None,
            validate: true
        })
    );
    let actions = bench.ping(1, 5, false);
    assert_eq!(
        replies(&actions),
        [(1, Err("protocol not supported".to_owned()))]
    );
    assert!(!bench.knows(5));
}

#[test]
fn a_clock_that_is_off_by_more_than_three_seconds_is_reported() {
    for (offset, reported) in [
        (0.0, false),
        (2.9, false),
        (-2.9, false),
        (3.5, true),
        (-60.0, true),
    ] {
        let config = DhtConfig {
            initial_peers: vec![peer(1)],
            ..DhtConfig::new(id(0), peer(0))
        };
        let (mut bench, actions) = Bench::new(config);
        let (call, ..) = calls(&actions).remove(0);
        let actions = bench.answer(call, Ok(pong(1, START + offset)));
        let skew = Notice::ClockSkew {
            peer: peer(1),
            seconds: offset,
        };
        assert_eq!(notices(&actions).contains(&skew), reported, "{offset}");
    }
}

#[test]
fn a_peer_that_changes_its_node_id_is_handed_records_only_now_and_then() {
    let mut bench = Bench::server();
    let record = StoreRecord {
        key: id(50),
        subkey: Subkey::Regular,
        value: Bytes::from_static(b"v"),
        expiration: START + 600.0,
        in_cache: false,
    };
    let store = StoreRequest {
        node_id: None,
        records: vec![record],
    };
    bench.request(0, 9, DhtRequest::Store(store));
    let mut pushes = 0;
    for n in 0..100 {
        bench.now += 0.5;
        let ping = PingRequest {
            node_id: Some(id(1000 + n)),
            validate: false,
        };
        let actions = bench.request(u64::from(n), 5, DhtRequest::Ping(ping));
        for (call, _, request) in calls(&actions) {
            pushes += usize::from(matches!(request, DhtRequest::Store(_)));
            let accepted = DhtResponse::Store(StoreResponse {
                node_id: None,
                accepted: vec![true],
            });
            bench.answer(call, Ok(accepted));
        }
    }
    assert_eq!(bench.node.known_node_count(), 1);
    assert!((1..=6).contains(&pushes), "{pushes} pushes in 50 s");
}
