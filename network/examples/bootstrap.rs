//! A member of the DHT that others can bootstrap from, and nothing else.
//!
//! `bootstrap [LISTEN [INITIAL_PEER…]]`: listens on LISTEN (default: a free port on loopback),
//! joins through the initial peers if there are any, prints `READY <multiaddr>` on stdout once
//! that is done, and lives until Ctrl-C or the end of its stdin. Logs go to stderr (`RUST_LOG`).

use std::io::{Read, Write};

use anyhow::Context;
use block_network::{Dht, DhtConfig, Multiaddr, Node, NodeConfig, ReachabilityService, identity};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut addresses = std::env::args().skip(1).map(|argument| {
        let parsed = argument.parse::<Multiaddr>();
        parsed.with_context(|| format!("{argument} is no multiaddr"))
    });
    let listen = match addresses.next() {
        Some(listen) => listen?,
        None => "/ip4/127.0.0.1/tcp/0".parse()?,
    };
    let initial_peers = addresses.collect::<Result<Vec<_>, _>>()?;

    let config = NodeConfig {
        listen: vec![listen],
        ..NodeConfig::new(identity::ephemeral())
    };
    let (node, task) = Node::start(config).await?;
    let checks = ReachabilityService::start(&node);
    let dht_config = DhtConfig {
        initial_peers,
        ..DhtConfig::default()
    };
    let dht = Dht::start(node.clone(), dht_config);
    dht.ready().await?;

    let own = node.listen_addresses().await;
    let first = own.first().context("a listening node has an address")?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "READY {first}")?;
    stdout.flush()?;

    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        () = stdin_ended() => {}
    }
    drop((checks, dht));
    node.shutdown().await;
    task.join().await?;
    Ok(())
}

/// Returns at the end of stdin. Its thread ends with the process: a read cannot be interrupted.
async fn stdin_ended() {
    let (ended, wait) = oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = [0; 256];
        while matches!(std::io::stdin().read(&mut ignored), Ok(count) if count > 0) {}
        let _ = ended.send(());
    });
    let _ = wait.await;
}
