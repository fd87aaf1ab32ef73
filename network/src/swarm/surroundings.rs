//! What the local network and its router say: peers found by mDNS, ports forwarded by UPnP.

use libp2p::{mdns, upnp};
use tokio::sync::watch;

use super::behaviour::Behaviour;
use crate::{limits::MAX_MDNS_RECORDS, local_peers::LocalPeers};

/// Owned by the event loop; those who join read the peers.
#[derive(Debug, Default)]
pub(super) struct Surroundings(watch::Sender<LocalPeers>);

impl Surroundings {
    pub(super) fn local_peers(&self) -> watch::Receiver<LocalPeers> {
        self.0.subscribe()
    }

    pub(super) fn on_mdns(&self, behaviour: &mut Behaviour, event: mdns::Event) {
        self.0.send_if_modified(|found| found.take(event));
        let records = |mdns: &mdns::tokio::Behaviour| mdns.discovered_nodes().len();
        if behaviour
            .mdns
            .as_ref()
            .is_some_and(|mdns| records(mdns) > MAX_MDNS_RECORDS)
        {
            tracing::warn!(
                limit = MAX_MDNS_RECORDS,
                "too many peers announce themselves on the local network: mDNS is turned off until the next start"
            );
            behaviour.mdns = None.into();
        }
    }
}

/// The behaviour itself makes a forwarded address one of ours.
pub(super) fn on_upnp(event: upnp::Event) {
    match event {
        upnp::Event::NewExternalAddr { external_addr, .. } => {
            tracing::info!(address = %external_addr, "the router forwards a port (UPnP)");
        }
        upnp::Event::ExpiredExternalAddr { external_addr, .. } => {
            tracing::warn!(address = %external_addr, "the router no longer forwards a port (UPnP)");
        }
        upnp::Event::GatewayNotFound => {
            tracing::warn!(
                "no router answers UPnP: forward the port by hand, or turn UPnP on in the router"
            );
        }
        upnp::Event::NonRoutableGateway => {
            tracing::warn!(
                "the router that answers UPnP has no public address itself: its port leads nowhere"
            );
        }
    }
}
