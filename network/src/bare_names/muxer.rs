//! yamux whose substreams translate their names.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{
    AsyncRead, AsyncWrite, TryFutureExt,
    future::{MapOk, Ready},
};
use libp2p::{
    core::{
        StreamMuxer, UpgradeInfo,
        muxing::StreamMuxerEvent,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
    },
    yamux,
};

use super::substream::{BareSubstream, Role};
use crate::limits::MAX_YAMUX_STREAMS;

/// The upgrade of a secured connection: plain yamux on the wire.
#[derive(Debug, Clone)]
pub(crate) struct BareYamux(yamux::Config);

impl BareYamux {
    pub(crate) fn new() -> Self {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_YAMUX_STREAMS);
        Self(config)
    }
}

impl UpgradeInfo for BareYamux {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

type Upgrading<C> = MapOk<
    Ready<Result<yamux::Muxer<C>, io::Error>>,
    fn(yamux::Muxer<C>) -> BareMuxer<yamux::Muxer<C>>,
>;

impl<C> InboundConnectionUpgrade<C> for BareYamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = BareMuxer<yamux::Muxer<C>>;
    type Error = io::Error;
    type Future = Upgrading<C>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(socket, info).map_ok(BareMuxer)
    }
}

impl<C> OutboundConnectionUpgrade<C> for BareYamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = BareMuxer<yamux::Muxer<C>>;
    type Error = io::Error;
    type Future = Upgrading<C>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(socket, info).map_ok(BareMuxer)
    }
}

/// A muxer that wraps each substream it hands out.
#[derive(Debug)]
pub(crate) struct BareMuxer<M>(M);

impl<M> StreamMuxer for BareMuxer<M>
where
    M: StreamMuxer + Unpin,
    M::Substream: Unpin,
{
    type Substream = BareSubstream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let substream = ready!(Pin::new(&mut self.0).poll_inbound(cx))?;
        Poll::Ready(Ok(BareSubstream::new(substream, Role::Listener)))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let substream = ready!(Pin::new(&mut self.0).poll_outbound(cx))?;
        Poll::Ready(Ok(BareSubstream::new(substream, Role::Dialer)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.0).poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}
