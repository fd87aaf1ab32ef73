//! `swarm ping`: the way to one peer, and what it is.

use std::time::Duration;

use block_client::{Swarm, SwarmConfig, request};
use block_network::{Multiaddr, PeerId};
use block_program::{Exit, Failure, multiaddrs};
use block_protocol::ServerRpcInfo;
use serde::Serialize;
use tokio::time::timeout;

use crate::cli::PingFlags;
use crate::ending::Ending;
use crate::map::ping;
use crate::membership::{self, swarm_failure};
use crate::output;
use crate::progress::Waiting;

/// What was found out.
#[derive(Debug, Serialize)]
struct PingReport {
    peer_id: String,
    /// Round trips, milliseconds, in order; `null` for a ping without an answer.
    rtt_ms: Vec<Option<f64>>,
    /// `direct` or `relay`.
    path: &'static str,
    addresses: Vec<String>,
    /// Program and version, if it is a server that says so.
    implementation: Option<String>,
    /// Petals version, if it is a server.
    version: Option<String>,
    dtype: Option<String>,
    cache_tokens_available: Option<u64>,
    codecs: Vec<String>,
}

/// Pings, asks, prints.
///
/// # Errors
/// The peer does not answer (exit 69), or is no peer (2).
pub(crate) async fn run(flags: PingFlags) -> Result<(), Ending> {
    let target = target(&flags)?;
    let swarm = enter(&flags, &target).await?;
    let waiting = Waiting::new("asking the peer");
    let report = ask(&swarm, &target, flags.count).await;
    drop(waiting);
    let printed = match report {
        Ok(report) if flags.json => output::json(&report),
        Ok(report) => output::text(&text(&report)),
        Err(failure) => Err(failure.into()),
    };
    swarm.shutdown().await;
    printed
}

/// Whom to ask, and where, if that was given.
#[derive(Debug)]
struct Target {
    peer: PeerId,
    address: Option<Multiaddr>,
}

fn target(flags: &PingFlags) -> Result<Target, Failure> {
    if !flags.peer.starts_with('/') {
        let peer = flags.peer.parse::<PeerId>().map_err(|error| {
            Failure::usage(format!(
                "{} is neither a multiaddr nor a peer id",
                flags.peer
            ))
            .caused_by(&error)
            .hint("swarm map MODEL --json lists the peer ids of servers and their addresses")
        })?;
        return Ok(Target {
            peer,
            address: None,
        });
    }
    let address = multiaddrs::parse("PEER", &flags.peer)?;
    let peer = multiaddrs::peer_of(&address).ok_or_else(|| {
        Failure::usage(format!("{address} does not say which peer is meant"))
            .hint("a whole address ends in /p2p/PEER, as a server prints it after READY")
    })?;
    Ok(Target {
        peer,
        address: Some(address),
    })
}

/// A lone peer is its own way into its swarm, unless others were named.
async fn enter(flags: &PingFlags, target: &Target) -> Result<Swarm, Failure> {
    let swarm = &flags.swarm;
    let is_named = !swarm.initial_peers.is_empty() || swarm.public_swarm || swarm.lan;
    match &target.address {
        Some(address) if !is_named => {
            let _waiting = Waiting::new("connecting");
            let config = SwarmConfig {
                keypair: membership::keypair(&flags.swarm)?,
                join_timeout: flags.swarm.join_timeout.min(LONE_DEADLINE),
                ..SwarmConfig::new(vec![address.clone()])
            };
            Swarm::join(config)
                .await
                .map_err(|error| swarm_failure(&error))
        }
        _ => membership::join(&flags.swarm, membership::initial_peers(&flags.swarm)?).await,
    }
}

async fn ask(swarm: &Swarm, target: &Target, count: u32) -> Result<PingReport, Failure> {
    let node = swarm.node();
    let peer = target.peer;
    let silent = |cause: String| {
        Failure::new(Exit::Unavailable, format!("{peer} does not answer"))
            .cause(cause)
            .hint("check that it runs, and that its port is open to this machine")
    };
    if let Some(address) = &target.address {
        node.add_address(peer, address.clone()).await;
    }
    match timeout(CONNECT_DEADLINE, node.connect(peer)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(silent(error.to_string())),
        Err(_) => {
            return Err(silent(format!(
                "no connection within {} s",
                CONNECT_DEADLINE.as_secs()
            )));
        }
    }
    let mut rtt_ms = Vec::new();
    for _ in 0..count {
        let answered = ping(swarm, peer).await;
        rtt_ms.push(answered.ok().map(|rtt| rtt.as_micros() as f64 / 1e3));
    }
    if rtt_ms.iter().all(Option::is_none) {
        return Err(silent("it connects, but no ping was answered".to_owned()));
    }
    let info = request::info(node, peer, "", INFO_DEADLINE).await.ok();
    let info: ServerRpcInfo = info.unwrap_or_default();
    let addresses = node.addresses(peer).await;
    let is_relayed = !addresses.is_empty() && addresses.iter().all(is_relay);
    Ok(PingReport {
        peer_id: peer.to_string(),
        rtt_ms,
        path: if is_relayed { "relay" } else { "direct" },
        addresses: addresses.iter().map(ToString::to_string).collect(),
        implementation: info.implementation,
        version: info.version,
        dtype: info.torch_dtype,
        cache_tokens_available: Some(info.cache_tokens_available),
        codecs: info.codecs,
    })
}

fn is_relay(address: &Multiaddr) -> bool {
    address.to_string().contains("/p2p-circuit")
}

fn text(report: &PingReport) -> String {
    let mut text = String::new();
    for (number, rtt) in report.rtt_ms.iter().enumerate() {
        let answer = match rtt {
            Some(rtt) => format!("{rtt:.2} ms"),
            None => "no answer".to_owned(),
        };
        text.push_str(&format!("ping {}: {answer}\n", number + 1));
    }
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_owned());
    text.push_str(&format!("peer     {}\n", report.peer_id));
    text.push_str(&format!(
        "program  {}, speaks Petals {}\n",
        or_dash(&report.implementation),
        or_dash(&report.version)
    ));
    text.push_str(&format!(
        "path     {}  {}\n",
        report.path,
        report.addresses.join("  ")
    ));
    text
}

/// Longest wait for a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(20);
/// Longest wait when the peer is the only way in.
const LONE_DEADLINE: Duration = Duration::from_secs(20);
/// Longest wait for what a server says of itself.
const INFO_DEADLINE: Duration = Duration::from_secs(5);
