//! Whether the swarm answers, and whether its peers can reach this machine.

use block_network::{Reachability, check_direct, identity};
use block_program::{Exit, Member, MemberOptions};

use super::Check;
use crate::config::{Config, SwarmChoice};

/// Joins the swarm for a moment, under a name of its own, and asks.
pub(super) async fn look(config: &Config) -> Vec<Check> {
    if matches!(config.swarm, SwarmChoice::New) {
        return vec![Check::ok("swarm", "a new private one")];
    }
    // It listens where the server would, so that peers can try; a port that is taken is told by another line.
    // A port that a router forwards would stay forwarded for an hour.
    let options = MemberOptions {
        upnp: false,
        ..config.member(identity::ephemeral())
    };
    let member = match Member::join(options).await {
        Err(failure) if failure.exit() == Exit::OsError => {
            let visitor = Member::join(config.visitor()).await;
            visitor.map(|member| (member, false))
        }
        joined => joined.map(|member| (member, config.check_reachability)),
    };
    let (member, asks) = match member {
        Ok(member) => member,
        Err(failure) => return vec![Check::fail("swarm", &failure)],
    };
    let peers = member.dht.known_peers().await;
    if config.swarm == SwarmChoice::Lan && peers.is_empty() {
        member.leave().await;
        return vec![Check::ok(
            "swarm",
            "nobody on the local network yet: a start begins its swarm",
        )];
    }
    let plural = if peers.len() == 1 { "" } else { "s" };
    let mut checks = vec![Check::ok(
        "swarm",
        format!("{} peer{plural} known", peers.len()),
    )];
    if asks {
        checks.push(match check_direct(&member.node, &peers).await {
            Reachability::Direct => Check::ok("reach", "other peers can connect"),
            Reachability::Unknown => Check::warn(
                "reach",
                "no other peer could tell whether it can connect",
                "try again when the swarm has more peers",
            ),
            Reachability::Unreachable => Check::warn(
                "reach",
                "other peers cannot connect",
                "forward the port, or announce an address with --public-ip",
            ),
        });
    }
    member.leave().await;
    checks
}
