//! One DHT node, event by event: call-backs, bounds, refusals, notices.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use block_protocol::dht::{
    Action, CallFailure, CallId, Command, DhtConfig, DhtId, DhtNode, DhtRequest, DhtResponse,
    Event, FindRequest, Notice, OpId, Outcome, PingRequest, PingResponse, RequestId, StoreEntry,
    StoreRecord, StoreRequest, StoreResponse, Subkey, limits,
};
use bytes::Bytes;

const START: f64 = 1_800_000_000.0;

fn id(n: u32) -> DhtId {
    DhtId::of_raw(&n.to_be_bytes())
}

fn peer(n: u32) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

/// A started node and what it has said.
struct Bench {
    node: DhtNode,
    now: f64,
}

impl Bench {
    fn new(config: DhtConfig) -> (Self, Vec<Action>) {
        let mut bench = Self {
            node: DhtNode::new(config, START),
            now: START,
        };
        let actions = bench.feed(Event::Start);
        (bench, actions)
    }

    fn server() -> Self {
        Self::new(DhtConfig::new(id(0), peer(0))).0
    }

    fn feed(&mut self, event: Event) -> Vec<Action> {
        self.node.handle(event, self.now, &[7; 32])
    }

    fn request(&mut self, number: u64, from: u32, request: DhtRequest) -> Vec<Action> {
        let request_id = RequestId(number);
        self.feed(Event::Request {
            request_id,
            from: peer(from),
            request,
        })
    }

    fn ping(&mut self, number: u64, from: u32, validate: bool) -> Vec<Action> {
        let ping = PingRequest {
            node_id: Some(id(from)),
            validate,
        };
        self.request(number, from, DhtRequest::Ping(ping))
    }

    fn answer(&mut self, call: CallId, result: Result<DhtResponse, CallFailure>) -> Vec<Action> {
        self.feed(Event::Response { call, result })
    }

    fn knows(&self, n: u32) -> bool {
        self.node.known_nodes().any(|node| node.peer == peer(n))
    }
}

fn pong(n: u32, dht_time: f64) -> DhtResponse {
    DhtResponse::Ping(PingResponse {
        node_id: Some(id(n)),
        dht_time,
        available: true,
    })
}

fn calls(actions: &[Action]) -> Vec<(CallId, Bytes, DhtRequest)> {
    let call = |action: &Action| match action {
        Action::Call {
            call, to, request, ..
        } => Some((*call, to.clone(), request.clone())),
        _ => None,
    };
    actions.iter().filter_map(call).collect()
}

fn replies(actions: &[Action]) -> Vec<(u64, Result<DhtResponse, String>)> {
    let reply = |action: &Action| match action {
        Action::Reply { request_id, result } => Some((request_id.0, result.clone())),
        _ => None,
    };
    actions.iter().filter_map(reply).collect()
}

fn availability(actions: &[Action]) -> Vec<bool> {
    let available = |(_, result): (u64, Result<DhtResponse, String>)| match result.unwrap() {
        DhtResponse::Ping(response) => response.available,
        other => panic!("{other:?} is no ping response"),
    };
    replies(actions).into_iter().map(available).collect()
}

fn notices(actions: &[Action]) -> Vec<Notice> {
    let notice = |action: &Action| match action {
        Action::Notice(notice) => Some(notice.clone()),
        _ => None,
    };
    actions.iter().filter_map(notice).collect()
}

#[test]
fn a_lone_node_is_ready_at_once_and_wants_to_be_woken() {
    let (_, actions) = Bench::new(DhtConfig::new(id(0), peer(0)));
    assert!(actions.contains(&Action::Ready));
    assert!(matches!(actions.last(), Some(Action::WakeAt(at)) if *at > START));
}

#[test]
fn a_node_that_expects_initial_peers_is_not_ready_before_one_answers() {
    let config = DhtConfig {
        expects_initial_peers: true,
        ..DhtConfig::new(id(0), peer(0))
    };
    let (mut bench, actions) = Bench::new(config);
    assert!(!actions.contains(&Action::Ready) && calls(&actions).is_empty());
    let actions = bench.feed(Event::Command {
        op: OpId(1),
        command: Command::AddInitialPeer { peer: peer(1) },
    });
    let (call, to, request) = calls(&actions).remove(0);
    assert_eq!(to, peer(1));
    assert_eq!(
        request,
        DhtRequest::Ping(PingRequest {
            node_id: Some(id(0)),
            validate: true
        })
    );
    let actions = bench.answer(call, Ok(pong(1, START)));
    let (call, _, request) = calls(&actions).remove(0);
    assert!(
        matches!(&request, DhtRequest::Find(find) if find.keys == [id(0)]),
        "looks its own id up"
    );
    let actions = bench.answer(call, Err(CallFailure::Timeout));
    assert!(actions.contains(&Action::Ready) && bench.node.is_ready());
}

#[test]
fn an_initial_peer_that_was_removed_is_pinged_no_more_and_waited_for_no_more() {
    let config = DhtConfig {
        expects_initial_peers: true,
        ..DhtConfig::new(id(0), peer(0))
    };
    let (mut bench, _) = Bench::new(config);
    let mut asked = Vec::new();
    for number in [1, 2] {
        let actions = bench.feed(Event::Command {
            op: OpId(number.into()),
            command: Command::AddInitialPeer { peer: peer(number) },
        });
        asked.extend(calls(&actions));
    }
    let called: Vec<_> = asked.iter().map(|(_, to, _)| to.clone()).collect();
    assert_eq!(called, [peer(1), peer(2)]);
    let actions = bench.answer(asked[0].0, Ok(pong(1, START)));
    assert!(calls(&actions).is_empty(), "the second one has its chance");
    let actions = bench.feed(Event::Command {
        op: OpId(3),
        command: Command::RemoveInitialPeer { peer: peer(2) },
    });
    let done = Action::Done {
        op: OpId(3),
        outcome: Outcome::Removed,
    };
    assert!(actions.contains(&done));
    let (_, to, request) = calls(&actions).remove(0);
    assert_eq!(to, peer(1));
    assert!(
        matches!(request, DhtRequest::Find(_)),
        "looks its own id up"
    );
    // Whatever becomes of the ping to the second one, it is the last.
    let actions = bench.answer(asked[1].0, Err(CallFailure::Timeout));
    assert!(notices(&actions).is_empty(), "{actions:?}");
}

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
fn an_initial_peer_is_pinged_for_ever_and_the_log_stays_short() {
    let config = DhtConfig {
        initial_peers: vec![peer(1)],
        ..DhtConfig::new(id(0), peer(0))
    };
    let (mut bench, mut actions) = Bench::new(config);
    let mut pings = 0;
    let mut told = 0;
    while bench.now < START + 3600.0 {
        for (call, ..) in calls(&actions) {
            pings += 1;
            actions = bench.answer(call, Err(CallFailure::Unreachable));
            told += notices(&actions).len();
        }
        let Some(Action::WakeAt(at)) = actions.last() else {
            panic!("sleeps for ever")
        };
        bench.now = at.max(bench.now);
        actions = bench.feed(Event::Tick);
    }
    assert!((120..140).contains(&pings), "{pings} pings in an hour");
    assert!(told < 10, "{told} notices");
}

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
