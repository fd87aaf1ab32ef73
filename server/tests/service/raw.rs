//! A peer that is nothing but a connection: every byte of every stream by hand.

use std::pin::Pin;
use std::task::Poll;

use block_network::{Keypair, Multiaddr};
use futures::future::poll_fn;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::muxing::{StreamMuxerBox, SubstreamBox};
use libp2p::core::transport::{Boxed, DialOpts, PortUse};
use libp2p::core::upgrade::Version;
use libp2p::core::{Endpoint, StreamMuxer};
use libp2p::multiaddr::Protocol;
use libp2p::{PeerId, Transport, noise, tcp, yamux};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";

/// One connection; its task drives the muxer until this is dropped.
pub(crate) struct RawPeer {
    open: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    driver: JoinHandle<()>,
}

impl RawPeer {
    /// Connects to `address` with an identity of its own.
    pub(crate) async fn dial(address: &Multiaddr) -> Self {
        let key = Keypair::generate_ed25519();
        let mut limits = yamux::Config::default();
        limits.set_max_num_streams(4096);
        let mut transport: Boxed<(PeerId, StreamMuxerBox)> =
            tcp::tokio::Transport::new(tcp::Config::default())
                .upgrade(Version::V1)
                .authenticate(noise::Config::new(&key).unwrap())
                .multiplex(limits)
                .boxed();
        let is_place = |part: &Protocol<'_>| !matches!(part, Protocol::P2p(_));
        let address = address.iter().filter(is_place).collect();
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let (_, muxer) = transport.dial(address, options).unwrap().await.unwrap();
        let (open, wanted) = mpsc::channel(1);
        let driver = tokio::spawn(drive(muxer, wanted));
        Self { open, driver }
    }

    /// Opens a stream and sends header, `name` and `payload` in one write; `None` once the connection is gone.
    pub(crate) async fn propose(&self, name: &str, payload: &[u8]) -> Option<SubstreamBox> {
        let (reply, stream) = oneshot::channel();
        self.open.send(reply).await.ok()?;
        let mut stream = stream.await.ok()?;
        let length = u8::try_from(name.len() + 1).unwrap();
        let flight = [HEADER, &[length], name.as_bytes(), b"\n", payload].concat();
        stream.write_all(&flight).await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    }
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What the other side sends until it closes or resets the stream, after the negotiation of `name`.
pub(crate) async fn answer(stream: &mut SubstreamBox, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.ok();
    let negotiation = HEADER.len() + 1 + name.len() + 1;
    bytes.split_off(negotiation.min(bytes.len()))
}

async fn drive(
    mut muxer: StreamMuxerBox,
    mut wanted: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
) {
    let mut pending: Option<oneshot::Sender<SubstreamBox>> = None;
    poll_fn(|cx| {
        loop {
            if pending.is_none()
                && let Poll::Ready(Some(next)) = wanted.poll_recv(cx)
            {
                pending = Some(next);
            }
            if pending.is_some()
                && let Poll::Ready(stream) = Pin::new(&mut muxer).poll_outbound(cx)
            {
                let Ok(stream) = stream else {
                    return Poll::Ready(());
                };
                pending.take().unwrap().send(stream).ok();
                continue;
            }
            // Identify, ping and kad of the server are left without an answer.
            match Pin::new(&mut muxer).poll_inbound(cx) {
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            return match Pin::new(&mut muxer).poll(cx) {
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(_)) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            };
        }
    })
    .await;
}
