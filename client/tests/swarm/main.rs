//! The swarm as a client sees it, over loopback TCP and a real DHT.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "runs of blocks: often there is one"
)]

mod member;

use std::ops::Range;
use std::time::Duration;

use block_client::{ModelView, Reach, RouteError, RouteRequest, Swarm, SwarmConfig, SwarmError};
use block_network::{Multiaddr, Node, NodeConfig, PeerId, identity};
use block_protocol::ServerState;
use member::{BLOCKS, Member, PATIENCE, PREFIX, soon, until};

const LONG: Duration = Duration::from_secs(300);

async fn join(initial_peer: &Multiaddr) -> Swarm {
    let config = SwarmConfig::new(vec![initial_peer.clone()]);
    soon("the join", Swarm::join(config)).await.unwrap()
}

fn whole() -> RouteRequest {
    RouteRequest::new(0..BLOCKS, 16)
}

type Stops = Vec<(PeerId, Range<usize>)>;

/// The route as it is now, or what is missing.
fn stops(view: &ModelView) -> Result<Stops, Vec<Range<usize>>> {
    match view.route(&whole()) {
        Ok(route) => Ok(route
            .into_iter()
            .map(|hop| (hop.peer, hop.blocks))
            .collect()),
        Err(RouteError::Uncovered { missing }) => Err(missing),
        Err(error) => panic!("{error}"),
    }
}

/// Reads the records again and again until `condition` holds.
async fn refreshed(what: &str, view: &ModelView, condition: impl Fn() -> bool) {
    until(what, || {
        view.refresh_soon();
        condition()
    })
    .await;
}

#[tokio::test]
async fn a_view_follows_servers_that_come_and_go() {
    let first = Member::start(&[]).await;
    let second = Member::start(std::slice::from_ref(&first.address)).await;
    first.announce(ServerState::Online, 0..5, LONG).await;
    second.announce(ServerState::Online, 3..8, LONG).await;
    first.list_model().await;

    let swarm = join(&first.address).await;
    let models = swarm.registry().await.unwrap();
    let [model] = models.as_slice() else {
        panic!("one model, got {models:?}");
    };
    assert_eq!(
        (model.dht_prefix.as_str(), model.num_blocks),
        (PREFIX, BLOCKS)
    );

    let view = swarm.view(&model.dht_prefix, model.num_blocks);
    view.ready(PATIENCE).await.unwrap();
    let (one, two) = (first.node.peer_id(), second.node.peer_id());
    assert_eq!(stops(&view), Ok(vec![(one, 0..5), (two, 5..8)]));
    until("the pings", || {
        let servers = view.snapshot().servers;
        let answers = |reach| matches!(reach, Reach::Answers(_));
        servers.len() == 2 && servers.iter().all(|server| answers(server.reach))
    })
    .await;
    assert!(view.snapshot().is_healthy());

    second.announce(ServerState::Offline, 3..8, LONG).await;
    refreshed("the goodbye", &view, || stops(&view) == Err(vec![5..8])).await;
    let states: Vec<_> = view.snapshot().servers.iter().map(|s| s.state).collect();
    assert_eq!(states, [ServerState::Online, ServerState::Offline]);

    let waiting = {
        let view = view.clone();
        tokio::spawn(async move { view.route_soon(&whole(), PATIENCE).await })
    };
    second.announce(ServerState::Online, 4..8, LONG).await;
    let route = soon("the comeback", waiting).await.unwrap().unwrap();
    assert_eq!(
        (route[1].peer, route[1].blocks.clone(), route.len()),
        (two, 5..8, 2)
    );
    swarm.shutdown().await;
}

#[tokio::test]
async fn a_record_that_is_not_renewed_vanishes() {
    let server = Member::start(&[]).await;
    server.announce(ServerState::Online, 0..4, LONG).await;
    let brief = Member::start(std::slice::from_ref(&server.address)).await;
    brief
        .announce(ServerState::Online, 4..8, Duration::from_secs(4))
        .await;
    let swarm = join(&server.address).await;
    let view = swarm.view(PREFIX, BLOCKS);
    view.ready(PATIENCE).await.unwrap();
    refreshed("the expiration", &view, || stops(&view) == Err(vec![4..8])).await;
    assert_eq!(view.snapshot().servers.len(), 1);
}

#[tokio::test]
async fn a_dead_server_with_a_live_record_is_seen_as_silent_and_loses_to_a_slower_one() {
    let home = Member::start(&[]).await;
    let dead = Member::start(std::slice::from_ref(&home.address)).await;
    home.announce(ServerState::Online, 0..8, LONG).await;
    dead.announce(ServerState::Online, 0..8, LONG).await;
    dead.node.shutdown().await;
    let swarm = join(&home.address).await;
    let view = swarm.view(PREFIX, BLOCKS);
    view.ready(PATIENCE).await.unwrap();
    let gone = dead.node.peer_id();
    until("the silence", || {
        let servers = view.snapshot().servers;
        let mut silent = servers.iter().filter(|server| server.peer == gone);
        silent.any(|server| server.reach == Reach::Silent)
    })
    .await;
    assert_eq!(stops(&view), Ok(vec![(home.node.peer_id(), 0..8)]));
}

#[tokio::test]
async fn the_connections_end_with_the_last_handle_even_if_that_is_a_view() {
    let server = Member::start(&[]).await;
    server.announce(ServerState::Online, 0..8, LONG).await;
    let swarm = join(&server.address).await;
    let client = swarm.node().peer_id();
    let view = swarm.view(PREFIX, BLOCKS);
    drop(swarm);
    view.ready(PATIENCE).await.unwrap();
    assert!(server.node.connected_peers().contains(&client));
    drop(view);
    until("the end", || {
        !server.node.connected_peers().contains(&client)
    })
    .await;
}

#[tokio::test]
async fn without_an_answer_each_address_has_its_own_reason() {
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = refused.local_addr().unwrap().port();
    drop(refused);
    let refused: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let stranger = NodeConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        ..NodeConfig::new(identity::ephemeral())
    };
    let (stranger, _task) = Node::start(stranger).await.unwrap();
    let stranger = stranger.listen_addresses().await.remove(0);

    let config = SwarmConfig {
        join_timeout: Duration::from_secs(2),
        ..SwarmConfig::new(vec![refused.clone(), stranger.clone()])
    };
    let error = soon("the refusal", Swarm::join(config)).await.unwrap_err();
    let SwarmError::NobodyAnswered { waited, reasons } = error else {
        panic!("another error: {error}");
    };
    assert_eq!(waited, Duration::from_secs(2));
    let [(first, why), (second, why_too)] = reasons.as_slice() else {
        panic!("two reasons, got {reasons:?}");
    };
    assert_eq!((first, second), (&refused, &stranger));
    assert!(why.contains("refused"), "{why}");
    assert!(
        why_too.contains("does not answer as a DHT node"),
        "{why_too}"
    );

    let nobody = Swarm::join(SwarmConfig::new(Vec::new())).await;
    assert!(matches!(nobody, Err(SwarmError::NoInitialPeers)));
}
