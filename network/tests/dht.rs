//! DHT members over loopback TCP.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::time::Duration;

use block_network::{
    Dht, DhtConfig, DhtError, Keypair, Multiaddr, NodeConfig, identity, subkey_entry, unix_time,
};
use block_protocol::dht::{CallFailure, DhtId, DhtValue, Dictionary, StoreEntry};
use support::{PATIENCE, Running, bytes, loopback, soon, start_with};
use tokio::time::interval;

/// How often a condition is looked at that nothing announces.
const LOOK: Duration = Duration::from_millis(20);

struct Member {
    running: Running,
    dht: Dht,
}

impl Member {
    async fn start(
        keypair: Keypair,
        listen: Multiaddr,
        initial: &[Multiaddr],
        client: bool,
    ) -> Self {
        let running = start_with(NodeConfig {
            listen: vec![listen],
            client_mode: client,
            ..NodeConfig::new(keypair)
        })
        .await;
        let config = DhtConfig {
            client_mode: client,
            initial_peers: initial.to_vec(),
            // As fast as a test wants it; the rule is the state machine's.
            initial_peer_period: Duration::from_millis(500),
            ..DhtConfig::default()
        };
        let dht = Dht::start(running.node.clone(), config);
        Self { running, dht }
    }

    async fn server(initial: &[Multiaddr]) -> Self {
        Self::start(identity::ephemeral(), loopback(), initial, false).await
    }

    async fn client(initial: &[Multiaddr]) -> Self {
        Self::start(identity::ephemeral(), loopback(), initial, true).await
    }

    async fn knows(&self, other: &Self) -> bool {
        let peer = other.running.node.peer_id();
        self.dht.known_peers().await.contains(&peer)
    }
}

/// A bootstrap and `count - 1` servers that joined through it.
async fn swarm(count: usize) -> Vec<Member> {
    let mut members = vec![Member::server(&[]).await];
    let bootstrap = members[0].running.address.clone();
    for _ in 1..count {
        members.push(Member::server(std::slice::from_ref(&bootstrap)).await);
    }
    for member in &members {
        soon("the join", member.dht.ready()).await.unwrap();
    }
    members
}

/// Looks until `condition` holds.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    soon(what, async {
        let mut looks = interval(LOOK);
        while !condition().await {
            looks.tick().await;
        }
    })
    .await;
}

fn subkeys(dictionary: &Dictionary) -> Vec<String> {
    dictionary
        .text_entries()
        .map(|(subkey, _)| subkey.to_owned())
        .collect()
}

fn plain(key: &str, value: &str) -> StoreEntry {
    StoreEntry {
        subkey: None,
        ..subkey_entry(key, "", bytes(value), unix_time() + 120.0)
    }
}

#[tokio::test]
async fn five_members_agree_on_what_each_of_them_stored() {
    let members = swarm(5).await;
    for (index, member) in members.iter().enumerate() {
        let name = format!("server {index}");
        let expiration = unix_time() + 120.0;
        let entries = vec![
            subkey_entry("model.0", &name, bytes("a"), expiration),
            subkey_entry("model.1", &name, bytes("b"), expiration),
            plain(&format!("plain {index}"), &name),
        ];
        let stored = member.dht.announce(entries).await.unwrap();
        assert!(
            stored
                .iter()
                .all(|stored| stored.kept_here && stored.kept_by_others > 0),
            "{stored:?}"
        );
    }
    let names: Vec<String> = (0..5).map(|index| format!("server {index}")).collect();
    for member in &members {
        let found = member
            .dht
            .dictionaries(&["model.0", "model.1", "nothing"])
            .await
            .unwrap();
        assert_eq!(
            found.iter().map(subkeys).collect::<Vec<_>>(),
            [names.clone(), names.clone(), Vec::new()]
        );
        for (index, name) in names.iter().enumerate() {
            let key = DhtId::of_text(&format!("plain {index}"));
            let record = member
                .dht
                .get(vec![key], false)
                .await
                .unwrap()
                .remove(0)
                .unwrap();
            assert_eq!(record.value, DhtValue::Regular(bytes(name)));
        }
    }
}

#[tokio::test]
async fn a_client_reads_and_writes_and_is_not_known() {
    let members = swarm(3).await;
    let client = Member::client(&[members[0].running.address.clone()]).await;
    soon("the join", client.dht.ready()).await.unwrap();
    let stored = client
        .dht
        .store(vec![plain("from a client", "v")])
        .await
        .unwrap();
    assert_eq!(stored[0].kept_by_others, 3);
    let key = DhtId::of_text("from a client");
    assert!(members[2].dht.get(vec![key], true).await.unwrap()[0].is_some());
    for member in &members {
        assert!(!member.knows(&client).await);
    }
    let ping = members[0].dht.ping(client.running.node.peer_id()).await;
    assert_eq!(
        ping.unwrap_err(),
        DhtError::NoAnswer(CallFailure::NotServed)
    );
    assert!(
        client
            .dht
            .ping(members[1].running.node.peer_id())
            .await
            .unwrap()
            < PATIENCE
    );
}

#[tokio::test]
async fn a_restarted_bootstrap_is_joined_again() {
    let keypair = identity::ephemeral();
    let bootstrap = Member::start(keypair.clone(), loopback(), &[], false).await;
    let address = bootstrap.running.address.clone();
    let listen: Multiaddr = address.iter().take(2).collect();
    // One knows the peer id, the other only where to dial.
    let servers = [
        Member::server(std::slice::from_ref(&address)).await,
        Member::server(std::slice::from_ref(&listen)).await,
    ];
    for server in &servers {
        soon("the join", server.dht.ready()).await.unwrap();
    }
    bootstrap.running.node.shutdown().await;
    drop(bootstrap);
    let stored = servers[0]
        .dht
        .announce(vec![plain("key", "v")])
        .await
        .unwrap();
    assert!(stored[0].kept_here || stored[0].kept_by_others > 0);
    until("the bootstrap to be missed", async || {
        servers[0].dht.known_peers().await.len() < 2
    })
    .await;

    let bootstrap = Member::start(keypair, listen, &[], false).await;
    for server in &servers {
        until("the bootstrap to be known again", async || {
            server.knows(&bootstrap).await
        })
        .await;
        until("the server to be known again", async || {
            bootstrap.knows(server).await
        })
        .await;
    }
    // Handed over by whoever kept it, or found there.
    let key = DhtId::of_text("key");
    let found = bootstrap.dht.get(vec![key], true).await.unwrap();
    assert_eq!(
        found[0].as_ref().unwrap().value,
        DhtValue::Regular(bytes("v"))
    );
}

#[tokio::test]
async fn a_server_waits_for_a_bootstrap_that_starts_later() {
    let keypair = identity::ephemeral();
    let reserved = Member::start(keypair.clone(), loopback(), &[], false).await;
    let address = reserved.running.address.clone();
    reserved.running.node.shutdown().await;
    drop(reserved);
    let server = Member::server(std::slice::from_ref(&address)).await;
    assert!(!server.dht.is_ready());
    let listen = address.iter().take(2).collect();
    let bootstrap = Member::start(keypair, listen, &[], false).await;
    soon("the join", server.dht.ready()).await.unwrap();
    assert!(bootstrap.knows(&server).await && server.knows(&bootstrap).await);
}

#[tokio::test]
async fn a_member_ends_with_its_node() {
    let member = Member::server(&[]).await;
    soon("a lone member", member.dht.ready()).await.unwrap();
    member.running.node.shutdown().await;
    let stored = soon("the end", member.dht.store(vec![plain("key", "v")])).await;
    assert_eq!(stored.unwrap_err(), DhtError::Stopped);
    assert!(member.dht.known_peers().await.is_empty());
}

#[tokio::test]
async fn nonsense_is_answered_with_an_error_and_does_no_harm() {
    let members = swarm(2).await;
    let target = members[0].running.node.peer_id();
    let call = |rpc: &'static str, body: &'static [u8]| {
        members[1]
            .running
            .node
            .call(target, rpc, bytes::Bytes::from_static(body), PATIENCE)
    };
    for rpc in [
        "DHTProtocol.rpc_ping",
        "DHTProtocol.rpc_find",
        "DHTProtocol.rpc_store",
    ] {
        assert!(call(rpc, b"\xff\xff\xff").await.is_err());
    }
    assert!(
        call("DHTProtocol.rpc_store", &[0x12, 0x01, 0x01])
            .await
            .is_err(),
        "arrays of unequal length"
    );
    assert!(members[1].dht.ping(target).await.is_ok());
}
