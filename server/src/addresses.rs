//! Multiaddrs of the command line: where to listen, what to announce, whom to join.

use std::net::IpAddr;

use block_network::Multiaddr;

use crate::cli::NetworkFlags;
use block_program::Failure;

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
        // Petals listens on both families with one port.
        return Ok(vec![
            tcp_address(std::net::Ipv4Addr::UNSPECIFIED.into(), flags.port),
            tcp_address(std::net::Ipv6Addr::UNSPECIFIED.into(), flags.port),
        ]);
    }
    let parsed = parse_all("--listen-maddr", &flags.listen_maddr)?;
    for address in &parsed {
        let text = address.to_string();
        let is_ip_tcp = matches!(
            text.split('/').collect::<Vec<_>>()[..],
            ["", "ip4" | "ip6", _, "tcp", _]
        );
        if !is_ip_tcp {
            return Err(Failure::usage(format!(
                "--listen-maddr accepts an IP address with a TCP port, got {text}"
            ))
            .hint("--listen-maddr /ip4/127.0.0.1/tcp/0"));
        }
    }
    Ok(parsed)
}

/// What to announce.
pub(crate) fn announce(flags: &NetworkFlags) -> Result<Announce, Failure> {
    match (flags.public_ip, flags.announce_maddr.is_empty()) {
        (None, true) => Ok(Announce::Listening),
        (None, false) => Ok(Announce::Fixed(parse_all(
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
        (Some(ip), true) => Ok(Announce::Fixed(vec![tcp_address(ip, flags.port)])),
    }
}

/// Peers to join through; each must name its peer id, which is what proves who answers.
pub(crate) fn initial_peers(given: &[String]) -> Result<Vec<Multiaddr>, Failure> {
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
            .hint("copy the whole line after READY of the server to join"));
        }
    }
    Ok(parsed)
}

/// Bootstrap peers of the public Petals swarm.
pub(crate) fn public_swarm() -> Vec<Multiaddr> {
    PUBLIC_SWARM
        .iter()
        .map(|text| {
            text.parse()
                .expect("invariant: the constant is a list of multiaddrs")
        })
        .collect()
}

fn parse_all(flag: &str, texts: &[String]) -> Result<Vec<Multiaddr>, Failure> {
    texts.iter().map(|text| parse(flag, text)).collect()
}

/// Whether the last component is `/p2p/PEER`.
fn names_its_peer(address: &Multiaddr) -> bool {
    let text = address.to_string();
    matches!(text.rsplit('/').collect::<Vec<_>>()[..], [_, "p2p", ..])
}

/// Whether an address is only valid on this machine.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    let text = address.to_string();
    match text.split('/').collect::<Vec<_>>()[..] {
        ["", "ip4" | "ip6", ip, ..] => ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        ["", "dns" | "dns4" | "dns6", host, ..] => host == "localhost",
        _ => false,
    }
}

/// Whether an address begins with IPv6.
pub(crate) fn is_ip6(address: &Multiaddr) -> bool {
    address.to_string().starts_with("/ip6/")
}

fn parse(flag: &str, text: &str) -> Result<Multiaddr, Failure> {
    text.parse::<Multiaddr>().map_err(|error| {
        Failure::usage(format!("{flag}: {text} is not a multiaddr"))
            .caused_by(&error)
            .hint("a multiaddr looks like /ip4/10.1.2.3/tcp/31330/p2p/12D3KooW…")
    })
}

fn tcp_address(ip: IpAddr, port: u16) -> Multiaddr {
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

    fn flags(port: u16) -> NetworkFlags {
        NetworkFlags {
            port,
            listen_maddr: Vec::new(),
            public_ip: None,
            announce_maddr: Vec::new(),
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
    fn listening_is_on_ip_and_tcp_only() {
        for wrong in [
            "/ip4/1.2.3.4",
            "/dns/a/tcp/1",
            "/ip4/1.2.3.4/udp/1/quic-v1",
            "nonsense",
        ] {
            let mut flags = flags(0);
            flags.listen_maddr = vec![wrong.into()];
            assert!(listen(&flags).is_err(), "{wrong} must be refused");
        }
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
