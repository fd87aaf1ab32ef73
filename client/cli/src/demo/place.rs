//! Which address of this machine the demo's servers listen on.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::str::FromStr;

use block_program::{Exit, Failure};

/// Whom `--share` lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Share {
    /// Whoever reaches the address by which this machine reaches others.
    Auto,
    /// Whoever reaches this address of this machine.
    Ip(IpAddr),
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse::<IpAddr>() {
            Ok(ip) if !ip.is_unspecified() => Ok(Self::Ip(ip)),
            _ => {
                Err("expected an address of this machine, such as 192.168.1.5, or auto".to_owned())
            }
        }
    }
}

/// The address that the servers listen on: loopback unless they are shared.
///
/// # Errors
/// This machine has no such address, or none by which it reaches others (exit 71).
pub(super) fn ip(share: Option<&Share>) -> Result<IpAddr, Failure> {
    match share {
        None => Ok(Ipv4Addr::LOCALHOST.into()),
        Some(Share::Auto) => outward().map_err(|error| {
            Failure::new(Exit::OsError, "this machine has no address for others")
                .caused_by(&error)
                .hint("connect it to a network, or name its address: --share 192.168.1.5")
        }),
        Some(Share::Ip(ip)) => match UdpSocket::bind((*ip, 0)) {
            Ok(_) => Ok(*ip),
            Err(error) => Err(Failure::new(
                Exit::OsError,
                format!("--share {ip}: not of this machine"),
            )
            .caused_by(&error)
            .hint("ip address lists the addresses of this machine; --share alone finds one")),
        },
    }
}

/// The address that a packet to elsewhere would carry. None is sent.
fn outward() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((ELSEWHERE, DISCARD_PORT))?;
    Ok(socket.local_addr()?.ip())
}

/// An address of nobody, kept for documents: RFC 5737.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Any port does. This is the one of RFC 863.
const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_auto_are_read_and_nothing_else() {
        assert_eq!("auto".parse(), Ok(Share::Auto));
        assert_eq!(
            "192.168.1.5".parse(),
            Ok(Share::Ip([192, 168, 1, 5].into()))
        );
        for wrong in ["", "0.0.0.0", "::", "my-host", "192.168.1"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn servers_stay_on_loopback_unless_they_are_shared() {
        assert!(ip(None).unwrap().is_loopback());
        let own = Share::Ip(Ipv4Addr::LOCALHOST.into());
        assert!(ip(Some(&own)).unwrap().is_loopback());
        let nobody = Share::Ip(ELSEWHERE.into());
        let refused = ip(Some(&nobody)).unwrap_err().to_string();
        assert!(refused.contains("not of this machine"), "{refused}");
    }
}
