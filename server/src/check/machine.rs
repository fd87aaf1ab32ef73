//! What this machine must have: the identity, ports, open files, kernels.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;

use block_model::Level;
use block_network::{Multiaddr, multicast_source};
use block_program::{Exit, Failure, IdentityLock, file_limit, identity_lock};

use super::Check;
use crate::config::{Config, SwarmChoice};

/// Looks at this machine alone.
pub(super) fn look(config: &Config) -> Vec<Check> {
    let mut checks = vec![identity(&config.identity)];
    checks.extend(config.listen.iter().filter_map(port));
    checks.extend(config.admin.listen.map(|address| {
        bound(
            "admin",
            address,
            "--admin-listen with another port; port 0 takes a free one",
        )
    }));
    if config.swarm == SwarmChoice::Lan {
        checks.push(multicast());
    }
    checks.push(files());
    checks.push(kernels());
    checks
}

/// Whether the key can be used. It is not made: a check leaves nothing behind.
fn identity(path: &Path) -> Check {
    if !path.exists() {
        let found = format!("{}, made at the first start", path.display());
        return Check::ok("identity", found);
    }
    let usable = IdentityLock::take(path).and_then(|_lock| identity_lock::load_or_create(path));
    match usable {
        Err(failure) => Check::fail("identity", &failure),
        Ok(keypair) => {
            let peer = keypair.public().to_peer_id();
            if is_open_to_others(path) {
                let found = format!("{} can be read by others", path.display());
                let hint = format!("chmod 600 {}", path.display());
                return Check::warn("identity", found, &hint);
            }
            Check::ok("identity", format!("{} of {peer}", path.display()))
        }
    }
}

fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// Whether an address for peers can be listened on; `None` if it is no IP address with a TCP port.
fn port(address: &Multiaddr) -> Option<Check> {
    let text = address.to_string();
    let ["", "ip4" | "ip6", ip, "tcp", port] = text.split('/').collect::<Vec<_>>()[..] else {
        return None;
    };
    let address = SocketAddr::new(ip.parse::<IpAddr>().ok()?, port.parse().ok()?);
    let check = bound("port", address, "--port N; 0 takes a free one");
    // A start on a machine without IPv6 goes on with IPv4.
    let is_bearable = address.is_ipv6() && address.ip().is_unspecified();
    match check.verdict {
        super::Verdict::Fail if is_bearable && !has_ipv6() => Some(Check::warn(
            "port",
            check.found,
            "nothing, unless peers are to come over IPv6",
        )),
        _ => Some(check),
    }
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

fn bound(name: &'static str, address: SocketAddr, hint: &str) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(error) => {
            let what = format!("cannot listen on {address}");
            let failure = Failure::new(Exit::OsError, what).caused_by(&error);
            Check::fail(name, &failure.hint(hint))
        }
    }
}

/// Whether mDNS can be sent at all.
fn multicast() -> Check {
    match multicast_source() {
        Ok(source) => Check::ok("lan", format!("mDNS goes out from {source}")),
        Err(error) => Check::warn(
            "lan",
            format!("this machine cannot send multicast, so nobody finds it: {error}"),
            "connect it to a network, or join with --initial-peers ADDR",
        ),
    }
}

fn files() -> Check {
    match file_limit::allowed() {
        Ok((limit, true)) => Check::ok("files", format!("{limit} may be open")),
        Ok((limit, false)) => Check::warn(
            "files",
            format!("only {limit} may be open, one for each connection"),
            "raise LimitNOFILE of the unit, or ulimit -Hn",
        ),
        Err(error) => Check::warn("files", format!("the limit is unknown: {error}"), "none"),
    }
}

fn kernels() -> Check {
    match Level::choose() {
        Ok(choice) => Check::ok(
            "device",
            format!("cpu with {} kernels", choice.level.name()),
        ),
        Err(error) => {
            let failure = Failure::new(Exit::Unavailable, "no kernels").caused_by(&error);
            Check::fail(
                "device",
                &failure.hint("block-server devices shows what runs here"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_taken_port_fails_with_its_flag() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port_number = taken.local_addr().unwrap().port();
        let address = format!("/ip4/127.0.0.1/tcp/{port_number}");
        let check = port(&address.parse().unwrap()).unwrap();
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.hint.unwrap().contains("--port"));
        drop(taken);
        let check = port(&"/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        assert_eq!(check.verdict, Verdict::Ok);
    }

    #[test]
    fn an_identity_is_looked_at_and_not_made() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state").join("identity.key");
        assert_eq!(identity(&path).verdict, Verdict::Ok);
        assert!(!root.path().join("state").exists());
        std::fs::create_dir(root.path().join("state")).unwrap();
        identity_lock::load_or_create(&path).unwrap();
        assert_eq!(identity(&path).verdict, Verdict::Ok);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(identity(&path).verdict, Verdict::Warn);
        std::fs::write(&path, "no key").unwrap();
        assert_eq!(identity(&path).verdict, Verdict::Fail);
    }
}
