//! The local network, as operators meet it: whether mDNS works here, and what to do when nobody is found.

use std::time::Duration;

use block_network::multicast_source;

use crate::error_report::{Exit, Failure};

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
