//! Multiaddrs of a command line: whom to join, where to listen.

use std::net::IpAddr;

use block_network::{Multiaddr, PeerId};

use crate::error_report::Failure;

/// Addresses to listen on, as `flag` gives them.
///
/// # Errors
/// Exit 2: something else than an IP address with a TCP port.
pub fn to_listen_on(flag: &str, texts: &[String]) -> Result<Vec<Multiaddr>, Failure> {
    let parsed = parse_all(flag, texts)?;
    for address in &parsed {
        let text = address.to_string();
        let is_ip_tcp = matches!(
            text.split('/').collect::<Vec<_>>()[..],
            ["", "ip4" | "ip6", _, "tcp", _]
        );
        if !is_ip_tcp {
            return Err(Failure::usage(format!(
                "{flag} accepts an IP address with a TCP port, got {text}"
            ))
            .hint(format!("{flag} /ip4/127.0.0.1/tcp/0")));
        }
    }
    Ok(parsed)
}

/// `port` on all interfaces of both families, as Petals listens.
pub fn all_interfaces(port: u16) -> Vec<Multiaddr> {
    vec![
        tcp(std::net::Ipv4Addr::UNSPECIFIED.into(), port),
        tcp(std::net::Ipv6Addr::UNSPECIFIED.into(), port),
    ]
}

/// Peers to join through; each must name its peer id, which is what proves who answers.
///
/// # Errors
/// Exit 2: no multiaddr, or none that ends in `/p2p/PEER`.
pub fn initial_peers(given: &[String]) -> Result<Vec<Multiaddr>, Failure> {
    let words: Vec<String> = given
        .iter()
        .flat_map(|text| text.split_whitespace())
        .map(str::to_owned)
        .collect();
    let parsed = parse_all("--initial-peers", &words)?;
    for (address, text) in parsed.iter().zip(&words) {
        if !names_its_peer(address) {
            return Err(Failure::usage(format!(
                "--initial-peers accepts addresses that end in /p2p/PEER, got {text}"
            ))
            .hint("copy the whole address after READY of a server or of swarm bootstrap"));
        }
    }
    Ok(parsed)
}

/// Bootstrap peers of the public Petals swarm.
pub fn public_swarm() -> Vec<Multiaddr> {
    PUBLIC_SWARM
        .iter()
        .map(|text| {
            text.parse()
                .expect("invariant: the constant is a list of multiaddrs")
        })
        .collect()
}

/// Every text as a multiaddr.
///
/// # Errors
/// Exit 2, naming `flag` and the text.
pub fn parse_all(flag: &str, texts: &[String]) -> Result<Vec<Multiaddr>, Failure> {
    texts.iter().map(|text| parse(flag, text)).collect()
}

/// Whether the last component is `/p2p/PEER`.
fn names_its_peer(address: &Multiaddr) -> bool {
    peer_of(address).is_some()
}

/// The peer that an address leads to: its last component `/p2p/PEER`.
pub fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    let text = address.to_string();
    match text.rsplit('/').collect::<Vec<_>>()[..] {
        [peer, "p2p", ..] => peer.parse().ok(),
        _ => None,
    }
}

/// Whether an address is only valid on this machine.
pub fn is_loopback(address: &Multiaddr) -> bool {
    let text = address.to_string();
    match text.split('/').collect::<Vec<_>>()[..] {
        ["", "ip4" | "ip6", ip, ..] => ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        ["", "dns" | "dns4" | "dns6", host, ..] => host == "localhost",
        _ => false,
    }
}

/// Whether an address begins with IPv6.
pub fn is_ip6(address: &Multiaddr) -> bool {
    address.to_string().starts_with("/ip6/")
}

/// One multiaddr, as `flag` gives it.
///
/// # Errors
/// Exit 2.
pub fn parse(flag: &str, text: &str) -> Result<Multiaddr, Failure> {
    text.parse::<Multiaddr>().map_err(|error| {
        Failure::usage(format!("{flag}: {text} is not a multiaddr"))
            .caused_by(&error)
            .hint("a multiaddr looks like /ip4/10.1.2.3/tcp/31330/p2p/12D3KooW…")
    })
}

/// The address of a TCP port.
pub fn tcp(ip: IpAddr, port: u16) -> Multiaddr {
    let family = if ip.is_ipv4() { "ip4" } else { "ip6" };
    format!("/{family}/{ip}/tcp/{port}")
        .parse()
        .expect("invariant: an IP address and a port make a multiaddr")
}

/// Source: `PUBLIC_INITIAL_PEERS` of petals 2.2.0.post1, the DNS forms.
const PUBLIC_SWARM: &[&str] = &[
    "/dns/bootstrap1.petals.dev/tcp/31337/p2p/QmedTaZXmULqwspJXz44SsPZyTNKxhnnFvYRajfH7MGhCY",
    "/dns/bootstrap2.petals.dev/tcp/31338/p2p/QmQGTqmM7NKjV6ggU1ZCap8zWiyKR89RViDXiqehSiCpY5",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_is_on_ip_and_tcp_only() {
        for wrong in [
            "/ip4/1.2.3.4",
            "/dns/a/tcp/1",
            "/ip4/1.2.3.4/udp/1/quic-v1",
            "nonsense",
        ] {
            assert!(
                to_listen_on("--listen", &[wrong.to_owned()]).is_err(),
                "{wrong} must be refused"
            );
        }
    }

    #[test]
    fn loopback_is_recognized() {
        for (text, expected) in [
            ("/ip4/127.0.0.1/tcp/1", true),
            ("/ip6/::1/tcp/1", true),
            ("/ip4/10.0.0.1/tcp/1", false),
            ("/dns/localhost/tcp/1", true),
        ] {
            assert_eq!(is_loopback(&text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn initial_peers_name_their_peer() {
        assert_eq!(public_swarm().len(), 2);
        let joined = PUBLIC_SWARM.join(" ");
        assert_eq!(initial_peers(&[joined]).unwrap().len(), 2);
        assert!(initial_peers(&["/ip4/1.2.3.4/tcp/1".into()]).is_err());
    }
}
