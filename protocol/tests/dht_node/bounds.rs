//! Failures, bounds and refusals.

use block_protocol::dht::{
    Action, CallFailure, Command, DhtId, DhtRequest, DhtResponse, Event, FindRequest, OpId,
    Outcome, StoreEntry, StoreRecord, StoreRequest, Subkey, limits,
};
use bytes::Bytes;

use crate::bench::{Bench, START, calls, id, peer, replies};

#[test]
fn a_failed_call_removes_a_node_and_an_own_overload_does_not() {
    for (failure, stays) in [
        (CallFailure::Timeout, false),
        (CallFailure::Remote("AssertionError()".to_owned()), false),
        (CallFailure::Overloaded, true),
    ] {
        let mut bench = Bench::server();
        bench.ping(1, 5, false);
        let op = OpId(1);
        let actions = bench.feed(Event::Command {
            op,
            command: Command::Ping { peer: peer(5) },
        });
        let (call, ..) = calls(&actions).remove(0);
        let actions = bench.answer(call, Err(failure.clone()));
        assert!(actions.contains(&Action::Done {
            op,
            outcome: Outcome::Pinged(Err(failure))
        }));
        assert_eq!(bench.knows(5), stays);
    }
}

#[test]
fn an_answer_never_outgrows_the_envelope() {
    let mut bench = Bench::server();
    let keys: Vec<DhtId> = (100..200).map(id).collect();
    for (number, key) in keys.iter().enumerate() {
        let record = StoreRecord {
            key: *key,
            subkey: Subkey::Regular,
            value: Bytes::from(vec![0; 200 * 1024]),
            expiration: START + 60.0,
            in_cache: false,
        };
        let store = StoreRequest {
            node_id: None,
            records: vec![record],
        };
        bench.request(number as u64, 5, DhtRequest::Store(store));
    }
    assert_eq!(bench.node.stored_key_count(), 100);
    let find = FindRequest {
        node_id: None,
        keys,
    };
    let (_, result) = replies(&bench.request(1000, 5, DhtRequest::Find(find))).remove(0);
    let response = result.unwrap();
    assert!(response.encode().len() <= limits::MAX_ANSWER_BYTES);
    let DhtResponse::Find(found) = response else {
        panic!("not a find response")
    };
    assert_eq!(found.results.len(), 100);
    let with_value = found
        .results
        .iter()
        .filter(|result| result.record.is_some())
        .count();
    assert!((15..=21).contains(&with_value), "{with_value} values");
}

#[test]
fn commands_over_the_limits_are_refused() {
    let mut bench = Bench::server();
    let refused = |actions: &[Action]| {
        actions.iter().any(|action| {
            matches!(
                action,
                Action::Done {
                    outcome: Outcome::Refused,
                    ..
                }
            )
        })
    };
    let keys = vec![id(1); limits::MAX_ITEMS_PER_COMMAND + 1];
    let get = Command::Get {
        keys,
        latest: false,
    };
    assert!(refused(&bench.feed(Event::Command {
        op: OpId(1),
        command: get
    })));
    let value = Bytes::from(vec![0; limits::MAX_STORE_CALL_BYTES]);
    let entries = vec![StoreEntry {
        key: id(1),
        subkey: None,
        value,
        expiration: START + 9.0,
    }];
    assert!(refused(&bench.feed(Event::Command {
        op: OpId(2),
        command: Command::Store { entries }
    })));
    bench.ping(1, 5, false);
    for op in 0..limits::MAX_OPERATIONS as u64 {
        let command = Command::Get {
            keys: vec![id(1)],
            latest: true,
        };
        assert!(!refused(&bench.feed(Event::Command {
            op: OpId(10 + op),
            command
        })));
    }
    let command = Command::Get {
        keys: vec![id(1)],
        latest: true,
    };
    assert!(refused(&bench.feed(Event::Command {
        op: OpId(9),
        command
    })));
    bench.now += 61.0;
    let ended = bench
        .feed(Event::Tick)
        .iter()
        .filter(|action| matches!(action, Action::Done { .. }))
        .count();
    assert_eq!(
        ended,
        limits::MAX_OPERATIONS,
        "an operation ends with what it has"
    );
}

#[test]
fn nothing_asked_of_a_lone_node_stays_open() {
    let mut bench = Bench::server();
    let entry = StoreEntry {
        key: id(1),
        subkey: None,
        value: Bytes::from_static(b"v"),
        expiration: START + 9.0,
    };
    let actions = bench.feed(Event::Command {
        op: OpId(1),
        command: Command::Store {
            entries: vec![entry],
        },
    });
    let Some(Action::Done {
        outcome: Outcome::Stored(stored),
        ..
    }) = actions.first()
    else {
        panic!("{actions:?}")
    };
    assert!(stored[0].kept_here && stored[0].asked == 0);
    let get = Command::Get {
        keys: vec![id(1), id(2), id(1)],
        latest: true,
    };
    let actions = bench.feed(Event::Command {
        op: OpId(2),
        command: get,
    });
    let Some(Action::Done {
        outcome: Outcome::Found(found),
        ..
    }) = actions.first()
    else {
        panic!("{actions:?}")
    };
    assert_eq!(
        found.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, false, true]
    );
}
