//! Joining: a lone node, initial peers, readiness.

use block_protocol::dht::{
    Action, CallFailure, Command, DhtConfig, DhtRequest, Event, OpId, Outcome, PingRequest,
};

use crate::bench::{Bench, START, calls, id, notices, peer, pong};

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
