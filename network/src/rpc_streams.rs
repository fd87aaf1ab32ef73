//! The libp2p behaviour of calls: accepts inbound streams, opens outbound ones, and keeps [`Links`]
//! up to date.
//!
//! Not `libp2p-stream`: that hands inbound streams over through a queue of one and drops the rest of
//! a burst, and remembers every connection that there ever was.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use libp2p::{
    InboundUpgrade, Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, UpgradeInfo, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};

use tokio::sync::mpsc;

use crate::{
    limits::MAX_OUTBOUND_STREAMS_PER_PEER,
    links::Links,
    opening::{Opening, Proposal, Reply},
    services::Services,
};

/// Offers the served names on every connection, and proposes what callers ask for.
#[derive(Debug)]
pub(crate) struct Behaviour {
    services: Services,
    links: Links,
    /// Connections that have a handler and are about to be announced. No behaviour is asked after
    /// this one, so each of them is.
    starting: HashMap<ConnectionId, mpsc::Sender<Opening>>,
}

impl Behaviour {
    pub(crate) fn new(services: Services, links: Links) -> Self {
        Self {
            services,
            links,
            starting: HashMap::new(),
        }
    }

    fn handler(&mut self, connection: ConnectionId, peer: PeerId) -> Handler {
        // A caller holds a stream permit of the peer while it waits here.
        let (opener, openings) = mpsc::channel(MAX_OUTBOUND_STREAMS_PER_PEER);
        self.starting.insert(connection, opener);
        Handler {
            peer,
            services: self.services.clone(),
            openings,
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(connection, peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(connection, peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(opened) => {
                if let Some(opener) = self.starting.remove(&opened.connection_id) {
                    self.links
                        .connected(opened.peer_id, opened.connection_id, opener);
                }
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.links
                    .disconnected(&closed.peer_id, closed.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// One connection's part.
#[derive(Debug)]
pub(crate) struct Handler {
    peer: PeerId,
    services: Services,
    openings: mpsc::Receiver<Opening>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Proposal;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer(self.services.names()), ())
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Proposal, Reply, Infallible>> {
        while let Poll::Ready(Some(opening)) = self.openings.poll_recv(context) {
            // A caller that has gone needs no stream.
            if !opening.reply.is_closed() {
                let protocol = SubstreamProtocol::new(Proposal(opening.name), opening.reply);
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Proposal, (), Reply>) {
        // An answer that nobody waits for any more is dropped, and with it the stream.
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, name),
                info: (),
            }) => self.services.accept(self.peer, &name, stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: reply,
            }) => drop(reply.send(Ok(stream))),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: reply, error }) => {
                drop(reply.send(Err(error.into())));
            }
            _ => {}
        }
    }
}

/// The names offered for one inbound stream; yields the stream and the name agreed on.
#[derive(Debug)]
pub(crate) struct Offer(Vec<StreamProtocol>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}
