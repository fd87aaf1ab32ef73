//! Where this server listens, and where it says it does.

use block_network::Multiaddr;
use block_program::{Failure, lan, multiaddrs};

use crate::cli::NetworkFlags;

/// What is told to others about where this server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announce {
    /// The addresses that the listeners turn out to have.
    Listening,
    /// Exactly these.
    Fixed(Vec<Multiaddr>),
}

/// Multiaddrs to listen on.
pub(crate) fn listen(flags: &NetworkFlags) -> Result<Vec<Multiaddr>, Failure> {
    if flags.listen_maddr.is_empty() {
        return Ok(multiaddrs::all_interfaces(flags.port));
    }
    multiaddrs::to_listen_on("--listen-maddr", &flags.listen_maddr)
}

/// What to announce.
pub(crate) fn announce(flags: &NetworkFlags) -> Result<Announce, Failure> {
    match (flags.public_ip, flags.announce_maddr.is_empty()) {
        (None, true) => Ok(Announce::Listening),
        (None, false) => Ok(Announce::Fixed(multiaddrs::parse_all(
            "--announce-maddr",
            &flags.announce_maddr,
        )?)),
        (Some(_), false) => Err(Failure::usage(
            "--public-ip and --announce-maddr exclude each other",
        )
        .hint("--announce-maddr gives the whole address, --public-ip takes the port from --port")),
        (Some(_), true) if flags.port == 0 || !flags.listen_maddr.is_empty() => Err(
            Failure::usage("--public-ip needs the port that others will dial")
                .hint("add --port 31330, or give the whole address with --announce-maddr"),
        ),
        (Some(ip), true) => Ok(Announce::Fixed(vec![multiaddrs::tcp(ip, flags.port)])),
    }
}

/// Whether other machines of the local network could dial what mDNS will tell them.
///
/// # Errors
/// Exit 2: this server listens on this machine alone.
pub(crate) fn check_lan(flags: &NetworkFlags) -> Result<(), Failure> {
    lan::check_listens("--listen-maddr", &listen(flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(port: u16) -> NetworkFlags {
        NetworkFlags {
            port,
            listen_maddr: Vec::new(),
            public_ip: None,
            announce_maddr: Vec::new(),
            upnp: false,
            trusted_peers: Vec::new(),
            skip_reachability_check: false,
        }
    }

    fn text(addresses: &[Multiaddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_interfaces_of_both_families_by_default() {
        assert_eq!(
            text(&listen(&flags(7)).unwrap()),
            ["/ip4/0.0.0.0/tcp/7", "/ip6/::/tcp/7"]
        );
    }

    #[test]
    fn a_public_ip_needs_a_port() {
        let mut with_port = flags(7);
        with_port.public_ip = Some([203, 0, 113, 7].into());
        let Announce::Fixed(addresses) = announce(&with_port).unwrap() else {
            panic!("fixed")
        };
        assert_eq!(text(&addresses), ["/ip4/203.0.113.7/tcp/7"]);
        with_port.port = 0;
        assert!(announce(&with_port).is_err());
    }
}
