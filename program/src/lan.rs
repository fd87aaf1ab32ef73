//! The local network, as operators meet it: whether mDNS works here, and what to do when nobody is found.

use std::time::Duration;

use block_network::{Multiaddr, multicast_source};

use crate::error_report::{Exit, Failure};
use crate::multiaddrs;

/// Nobody announced itself within `waited`.
pub fn nobody_found(waited: Duration) -> Failure {
    let what = format!(
        "no server was found on the local network within {} s",
        waited.as_secs_f64()
    );
    let failure = Failure::new(Exit::Unavailable, what);
    let failure = match multicast_source() {
        Ok(_) => failure.cause("nobody on this network answered mDNS for libp2p"),
        Err(error) => failure.cause(format!("this machine cannot send multicast: {error}")),
    };
    failure.hint(
        "start one with block-server --model M --lan; mDNS (UDP port 5353) reaches one network only, and firewalls and guest Wi-Fi stop it: then join with --initial-peers ADDR",
    )
}

/// Whether other machines of the local network could dial what mDNS will tell them, which is IPv4 addresses.
///
/// # Errors
/// Exit 2: `flag` gives none of those to `listen` on.
pub fn check_listens(flag: &str, listen: &[Multiaddr]) -> Result<(), Failure> {
    let can_be_told =
        |address: &Multiaddr| !multiaddrs::is_loopback(address) && !multiaddrs::is_ip6(address);
    if listen.iter().any(can_be_told) {
        return Ok(());
    }
    Err(
        Failure::usage("--lan needs an IPv4 address that other machines can dial")
            .cause(format!("{flag} has none"))
            .hint(format!("leave {flag} away, or give /ip4/0.0.0.0/tcp/31330")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_mdns_can_tell_others_counts() {
        let listens = |addresses: &[&str]| {
            let addresses: Vec<Multiaddr> = addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect();
            check_listens("--listen", &addresses).is_ok()
        };
        assert!(listens(&["/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/1"]));
        assert!(listens(&["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1"]));
        assert!(!listens(&["/ip4/127.0.0.1/tcp/1"]));
        assert!(!listens(&["/ip6/::/tcp/1"]));
        assert!(!listens(&[]));
    }
}
