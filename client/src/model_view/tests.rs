#![allow(
    clippy::single_range_in_vec_init,
    reason = "runs of blocks: often there is one"
)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use block_network::PeerId;
use block_protocol::{ServerInfo, ServerRecord, ServerState, Span};

use super::*;

const BLOCKS: usize = 8;

/// The record of an online server of `blocks` that claims `inference_rps`.
fn record(blocks: &Range<usize>, inference_rps: f64) -> ServerRecord {
    ServerRecord {
        state: ServerState::Online,
        throughput: 1.0,
        info: ServerInfo {
            span: Some(Span::new(blocks.start, blocks.end).unwrap()),
            inference_rps: Some(inference_rps),
            forward_rps: Some(inference_rps * 10.0),
            ..ServerInfo::default()
        },
    }
}

fn records(servers: &[(PeerId, ServerRecord)]) -> Records {
    let mut records = Records::new();
    for (peer, record) in servers {
        for block in record.info.span.unwrap().range() {
            let servers: &mut BTreeMap<_, _> = records.entry(block).or_default();
            servers.insert(peer.to_base58(), record.clone());
        }
    }
    records
}

/// A view of servers that claim these rates.
fn view(servers: &[(PeerId, Range<usize>, f64)]) -> ModelView {
    let servers = servers.iter();
    let servers: Vec<_> = servers
        .map(|(peer, blocks, rate)| (*peer, record(blocks, *rate)))
        .collect();
    ModelView::fixed("m-hf", BLOCKS, &records(&servers))
}

fn peers(view: &ModelView) -> Vec<PeerId> {
    let route = view.route(&RouteRequest::new(0..BLOCKS, 10)).unwrap();
    route.into_iter().map(|hop| hop.peer).collect()
}

fn refused(text: &str) -> HopError {
    HopError::Refused(text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_failed_server_leaves_the_graph_at_once_and_comes_back_after_its_ban() {
    let [quick, slow] = [PeerId::random(), PeerId::random()];
    let view = view(&[(quick, 0..8, 1000.0), (slow, 0..8, 10.0)]);
    let other_session = view.clone();
    assert_eq!(peers(&view), [quick]);
    view.record_failure(quick, &HopError::Timeout);
    // Petals goes on choosing the dead one until its next refresh.
    assert_eq!(peers(&view), [slow]);
    assert_eq!(peers(&other_session), [slow]);
    tokio::time::advance(Duration::from_secs(14)).await;
    assert_eq!(peers(&view), [slow]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(peers(&view), [quick]);
    view.record_failure(quick, &HopError::Broken("gone".to_owned()));
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(peers(&view), [slow]);
    view.record_step(quick, 8, 0, Duration::from_millis(1));
    assert_eq!(peers(&view), [quick], "a success ends the ban");
}

#[tokio::test(start_paused = true)]
async fn the_callers_own_fault_bans_nobody_and_want_of_room_only_briefly() {
    let [quick, slow] = [PeerId::random(), PeerId::random()];
    let view = view(&[(quick, 0..8, 1000.0), (slow, 0..8, 10.0)]);
    for own in [
        refused("bad request: hidden states must have the shape [batch, seq, 64], got [3]"),
        refused("too long: max_length 9000 was asked for, this server grants 8192"),
        refused("Maximum length exceeded: prefix 60 + current 9 exceeds pre-allocated maximum 64"),
        HopError::Unsendable("too large".to_owned()),
    ] {
        view.record_failure(quick, &own);
        assert_eq!(peers(&view), [quick], "{own}");
    }
    assert!(!view.is_crowded());
    view.record_failure(
        quick,
        &refused("Could not allocate 5 bytes immediately: out of memory"),
    );
    assert_eq!(peers(&view), [slow]);
    // A step of a session that it has makes no room for another.
    view.record_step(quick, 8, 1, Duration::ZERO);
    assert!(view.is_crowded());
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(peers(&view), [quick]);
    assert!(!view.is_crowded());
    assert!(!view.server(&quick).unwrap().lists_codecs());
    assert!(view.server(&PeerId::random()).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_only_server_of_a_block_stays_in_use_however_often_it_fails() {
    let only = PeerId::random();
    let view = view(&[(only, 0..8, 1000.0)]);
    for _ in 0..20 {
        view.record_failure(only, &HopError::Unreachable("refused".to_owned()));
        assert_eq!(peers(&view), [only]);
        tokio::time::advance(Duration::from_secs(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn measured_speed_goes_before_claims_until_it_is_old() {
    let [liar, honest] = [PeerId::random(), PeerId::random()];
    let view = view(&[(liar, 0..8, 1e12), (honest, 0..8, 100.0)]);
    let claimed = view.step_estimate(liar, 8, 1).unwrap();
    assert!(claimed.typical < Duration::from_millis(20));
    assert_eq!(peers(&view), [liar]);
    for _ in 0..3 {
        view.record_step(liar, 8, 1, Duration::from_millis(800));
        view.record_step(honest, 8, 1, Duration::from_millis(80));
    }
    assert_eq!(peers(&view), [honest]);
    let measured = view.step_estimate(liar, 4, 1).unwrap();
    assert!(measured.typical.abs_diff(Duration::from_millis(400)) < Duration::from_millis(1));
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_eq!(peers(&view), [liar], "another chance");
    assert_eq!(view.step_estimate(PeerId::random(), 8, 1), None);
}

#[tokio::test(start_paused = true)]
async fn only_online_servers_with_blocks_of_the_model_are_used() {
    let [joining, outside, good] = [PeerId::random(), PeerId::random(), PeerId::random()];
    let mut joins = record(&(0..8), 1e6);
    joins.state = ServerState::Joining;
    let mut found = records(&[(joining, joins), (good, record(&(0..8), 1.0))]);
    let far = record(&(100..120), 1e6);
    let servers = found.entry(0).or_default();
    servers.insert(outside.to_base58(), far);
    servers.insert("no peer id".to_owned(), record(&(0..8), 1e6));
    let view = ModelView::fixed("m-hf", BLOCKS, &found);
    assert_eq!(peers(&view), [good]);
    let snapshot = view.snapshot();
    assert_eq!((snapshot.servers.len(), snapshot.covered()), (2, 8));
    assert!(snapshot.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn a_route_waits_for_servers_that_come_and_says_at_last_what_is_missing() {
    let [first, second] = [PeerId::random(), PeerId::random()];
    let view = view(&[(first, 0..5, 100.0)]);
    let request = RouteRequest::new(0..BLOCKS, 10);
    let missing = Err(RouteError::Uncovered {
        missing: vec![5..8],
    });
    assert_eq!(view.route(&request), missing);
    let waited = view.route_soon(&request, Duration::from_secs(3)).await;
    assert_eq!(waited, missing);
    assert_eq!(view.snapshot().missing(), [5..8]);

    let waiting = {
        let (view, request) = (view.clone(), request.clone());
        tokio::spawn(async move { view.route_soon(&request, Duration::from_secs(60)).await })
    };
    tokio::time::advance(Duration::from_secs(1)).await;
    view.replace_records(&records(&[
        (first, record(&(0..5), 100.0)),
        (second, record(&(3..8), 100.0)),
    ]));
    let route = waiting.await.unwrap().unwrap();
    let blocks: Vec<_> = route.into_iter().map(|hop| hop.blocks).collect();
    assert_eq!(blocks, [0..5, 5..8]);
    let wrong = RouteRequest::new(0..9, 10);
    let error = view.route_soon(&wrong, Duration::from_secs(60)).await;
    assert!(matches!(error, Err(RouteError::NoSuchBlocks { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_shows_bans_speed_and_the_weakest_block() {
    let [first, second] = [PeerId::random(), PeerId::random()];
    let view = view(&[(first, 0..5, 100.0), (second, 3..8, 30.0)]);
    view.record_failure(second, &HopError::Timeout);
    view.record_step(first, 5, 1, Duration::from_millis(50));
    let snapshot = view.snapshot();
    assert_eq!(snapshot.replicas(), [1, 1, 1, 2, 2, 1, 1, 1]);
    let weakest = snapshot.bottleneck(|info| info.inference_rps);
    assert!((weakest - 30.0).abs() < 1e-9);
    let [one, two] = snapshot.servers.as_slice() else {
        panic!("two servers, got {snapshot:?}");
    };
    assert_eq!((one.peer, two.peer), (first, second));
    assert_eq!(two.banned_for, Some(Duration::from_secs(15)));
    assert_eq!(one.banned_for, None);
    let measured = one.measured.unwrap().typical;
    assert!(measured.abs_diff(Duration::from_millis(50)) < Duration::from_millis(1));
    assert_eq!((one.reach, two.measured), (Reach::Unknown, None));
}

#[test]
fn a_flood_of_records_is_cut_and_every_group_is_pinged_in_turn() {
    let now = std::time::Instant::now();
    let mut state = State::new("m-hf".to_owned(), BLOCKS);
    let spans = [0..3, 3..5, 5..8];
    let servers: Vec<_> = (0..5000)
        .map(|index| (PeerId::random(), record(&spans[index % 3], 1.0)))
        .collect();
    state.replace(&records(&servers), now);
    assert_eq!(state.snapshot(now).servers.len(), 4096);

    state.replace(&records(&servers[..12]), now);
    let mut pinged = std::collections::HashSet::new();
    for round in 1..=2 {
        let candidates = state.ping_candidates(2);
        assert_eq!(candidates.len(), 6);
        for peer in candidates {
            state.pinged(peer, None, now + Duration::from_secs(round));
            pinged.insert(peer);
        }
    }
    assert_eq!(pinged.len(), 12, "each server once before any twice");
    let now = now + Duration::from_secs(2);
    let silent = |status: &ServerStatus| status.reach == Reach::Silent;
    assert!(state.snapshot(now).servers.iter().all(silent));
    assert_eq!(state.snapshot(now).covered(), 0);
}
