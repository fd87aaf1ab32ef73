//! The address that a request comes from.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

/// The caller's address. `trusts_proxy`: of several hops that `X-Forwarded-For` names the last counts, which is the one
/// that our own proxy saw; what stands before it anybody can write.
pub(super) fn of_caller(
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
    trusts_proxy: bool,
) -> Option<IpAddr> {
    let forwarded = || {
        let last = headers.get_all(X_FORWARDED_FOR).iter().next_back()?;
        let last = last.to_str().ok()?.rsplit(',').next()?.trim();
        let bare = last.parse().ok();
        bare.or_else(|| last.parse().ok().map(|address: SocketAddr| address.ip()))
    };
    let ip = if trusts_proxy { forwarded() } else { None };
    ip.or_else(|| peer.map(|peer| peer.ip()))
        .map(|ip| ip.to_canonical())
}

/// What is one caller's: an IPv4 address, or the /64 of an IPv6 one.
pub(crate) fn net_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & (u128::MAX << 64)).into()),
        IpAddr::V4(_) => ip,
    }
}

/// Whether a request was made on this machine and not passed on for another.
pub(super) fn is_this_machine(headers: &HeaderMap, peer: Option<SocketAddr>) -> bool {
    peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
        && !headers.contains_key(X_FORWARDED_FOR)
        && !headers.contains_key("forwarded")
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_hop_of_a_trusted_proxy_counts() {
        let peer: SocketAddr = "[::ffff:10.0.0.1]:5".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, "6.6.6.6".parse().unwrap());
        headers.append(X_FORWARDED_FOR, "7.7.7.7, 2001:db8::1".parse().unwrap());
        let of = |headers: &HeaderMap, trusts| of_caller(headers, Some(peer), trusts).unwrap();
        assert_eq!(of(&headers, false).to_string(), "10.0.0.1");
        assert_eq!(of(&headers, true).to_string(), "2001:db8::1");
        headers.append(X_FORWARDED_FOR, "8.8.8.8:99".parse().unwrap());
        assert_eq!(of(&headers, true).to_string(), "8.8.8.8");
        headers.append(X_FORWARDED_FOR, "unknown".parse().unwrap());
        assert_eq!(of(&headers, true).to_string(), "10.0.0.1");
    }

    #[test]
    fn what_a_proxy_passes_on_is_not_of_this_machine() {
        let here: SocketAddr = "127.0.0.1:5".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert!(is_this_machine(&headers, Some(here)));
        assert!(!is_this_machine(&headers, None));
        assert!(!is_this_machine(
            &headers,
            Some("10.0.0.1:5".parse().unwrap())
        ));
        headers.insert(X_FORWARDED_FOR, "127.0.0.1".parse().unwrap());
        assert!(!is_this_machine(&headers, Some(here)));
    }
}
