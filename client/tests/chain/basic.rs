//! Sessions that nothing disturbs.

use block_client::ActivationCodec;
use block_protocol::Compression;

use crate::fake::Kind;
use crate::swarm::{TestSwarm, expected, generate};

#[tokio::test]
async fn a_step_goes_through_all_blocks_by_relay_and_by_push() {
    let swarm = TestSwarm::ours(&[0..2, 2..5, 5..6]).await;
    for push in [false, true] {
        let config = swarm.config(ActivationCodec::None, push);
        let mut chain = swarm.open(config).await.unwrap();
        let outputs = generate(&mut chain, 1, 7, 5).await.unwrap();
        assert_eq!(outputs, expected(6, 1, 7, 5));
        let stats = chain.stats();
        assert_eq!(
            (stats.steps, stats.failovers, stats.replayed_tokens),
            (6, 0, 0)
        );
        assert_eq!(stats.route.len(), 3);
        assert_eq!(chain.position(), 12);
        chain.close().await;
    }
    let pushed = |server: usize| swarm.servers[server].seen().pushed.len();
    assert_eq!((pushed(0), pushed(1), pushed(2)), (0, 6, 6));
}

#[tokio::test]
async fn our_own_links_are_8_bit_in_both_directions_and_pythons_are_not() {
    let spans = [
        (Kind::ours(), 0..2),
        (Kind::ours(), 2..4),
        (Kind::petals(), 4..6),
        (Kind::ours(), 6..8),
    ];
    let swarm = TestSwarm::start(spans.to_vec()).await;
    let mut chain = swarm
        .open(swarm.config(ActivationCodec::Auto, true))
        .await
        .unwrap();
    generate(&mut chain, 1, 7, 5).await.unwrap();
    let seen: Vec<_> = swarm.servers.iter().map(|server| server.seen()).collect();
    let only = |codecs: &[Compression], codec| codecs.iter().all(|have| *have == codec);
    let implied = Compression::Blockwise8Implied;
    assert!(only(&seen[0].streamed, implied) && only(&seen[0].answered, implied));
    assert!(only(&seen[1].pushed, implied) && seen[1].pushed.len() == 6);
    // The client unpacks what the next server cannot read, and packs what comes from it.
    assert!(only(&seen[1].answered, implied) && only(&seen[3].streamed, implied));
    for codecs in [&seen[2].streamed, &seen[2].answered] {
        assert!(
            only(codecs, Compression::None) && codecs.len() == 6,
            "{codecs:?}"
        );
    }
    assert!(only(&seen[3].answered, implied));
}

#[tokio::test]
async fn many_dead_servers_cost_no_attempts() {
    // Seven of eight are gone for each span, and their records are still there.
    let spans: Vec<_> = [0..2, 2..4, 4..6].into_iter().cycle().take(24).collect();
    let swarm = TestSwarm::ours(&spans).await;
    for server in swarm.servers.iter().skip(3) {
        server.die().await;
    }
    let mut config = swarm.config(ActivationCodec::None, true);
    config.attempts = 1;
    let mut chain = swarm.open(config).await.unwrap();
    let outputs = generate(&mut chain, 1, 7, 2).await.unwrap();
    assert_eq!(outputs, expected(6, 1, 7, 2));
}
