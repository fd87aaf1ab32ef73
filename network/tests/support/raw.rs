//! A peer that is nothing but a connection: secured and multiplexed, every stream by hand.

use std::{pin::Pin, task::Poll};

use block_network::{Keypair, Multiaddr, PeerId};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, future::poll_fn};
use libp2p::{
    Transport,
    core::{
        Endpoint, StreamMuxer,
        muxing::{StreamMuxerBox, SubstreamBox},
        transport::{Boxed, DialOpts, ListenerId, PortUse, TransportEvent},
        upgrade::Version,
    },
    multiaddr::Protocol,
    noise, tcp, tls, yamux,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

pub(crate) const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";
pub(crate) const NOT_AVAILABLE: &[u8] = b"\x03na\n";

/// Which security protocols the peer speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Security {
    Noise,
    Tls,
}

/// One connection; its task drives the muxer until this is dropped.
pub(crate) struct RawPeer {
    pub(crate) peer: PeerId,
    open: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    inbound: mpsc::Receiver<SubstreamBox>,
    driver: JoinHandle<()>,
}

/// A listening socket for one connection.
pub(crate) struct RawListener {
    pub(crate) peer: PeerId,
    pub(crate) address: Multiaddr,
    transport: Boxed<(PeerId, StreamMuxerBox)>,
}

fn transport(key: &Keypair, security: Security) -> Boxed<(PeerId, StreamMuxerBox)> {
    let mut muxer = yamux::Config::default();
    muxer.set_max_num_streams(4096);
    let tcp = tcp::tokio::Transport::new(tcp::Config::default()).upgrade(Version::V1);
    match security {
        Security::Noise => {
            let noise = noise::Config::new(key).unwrap();
            tcp.authenticate(noise).multiplex(muxer).boxed()
        }
        Security::Tls => {
            let tls = tls::Config::new(key).unwrap();
            tcp.authenticate(tls).multiplex(muxer).boxed()
        }
    }
}

impl RawPeer {
    /// Connects to `address`.
    pub(crate) async fn dial(address: &Multiaddr, security: Security) -> Self {
        let key = Keypair::generate_ed25519();
        let mut transport = transport(&key, security);
        let address = address
            .iter()
            .filter(|part| !matches!(part, Protocol::P2p(_)))
            .collect();
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let (_, muxer) = transport.dial(address, options).unwrap().await.unwrap();
        let mut raw = Self::drive(key.public().to_peer_id(), muxer, None);
        let (_, nothing) = mpsc::channel(1);
        let mut inbound = std::mem::replace(&mut raw.inbound, nothing);
        tokio::spawn(async move {
            while let Some(mut stream) = inbound.recv().await {
                if read_proposal(&mut stream).await.is_ok() {
                    refuse(&mut stream).await;
                }
            }
        });
        raw
    }

    fn drive(
        peer: PeerId,
        mut muxer: StreamMuxerBox,
        transport: Option<Boxed<(PeerId, StreamMuxerBox)>>,
    ) -> Self {
        let (open, mut wanted) = mpsc::channel::<oneshot::Sender<SubstreamBox>>(1);
        let (found, inbound) = mpsc::channel(64);
        let driver = tokio::spawn(async move {
            let _transport = transport;
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
                        let _ = pending.take().unwrap().send(stream);
                        continue;
                    }
                    match Pin::new(&mut muxer).poll_inbound(cx) {
                        Poll::Ready(Ok(stream)) => {
                            let _ = found.try_send(stream);
                            continue;
                        }
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
        });
        Self {
            peer,
            open,
            inbound,
            driver,
        }
    }

    /// Opens a stream; nothing is sent on it.
    pub(crate) async fn open(&self) -> SubstreamBox {
        self.try_open().await.unwrap()
    }

    /// The same; `None` once the connection is gone.
    pub(crate) async fn try_open(&self) -> Option<SubstreamBox> {
        let (reply, stream) = oneshot::channel();
        self.open.send(reply).await.ok()?;
        stream.await.ok()
    }

    /// Opens a stream and sends header, `name` and `payload` in one write.
    pub(crate) async fn propose(&self, name: &str, payload: &[u8]) -> SubstreamBox {
        let mut stream = self.open().await;
        stream.write_all(&flight(name, payload)).await.unwrap();
        stream.flush().await.unwrap();
        stream
    }

    /// Waits for the first inbound stream that proposes `name` and returns it with the bytes that
    /// followed; nothing is answered. Other streams (identify, ping, kad) are refused.
    pub(crate) async fn accept(
        &mut self,
        name: &str,
        payload_bytes: usize,
    ) -> (SubstreamBox, Vec<u8>) {
        loop {
            let mut stream = self.inbound.recv().await.unwrap();
            if read_proposal(&mut stream).await.unwrap() == format!("{name}\n").as_bytes() {
                let mut payload = vec![0; payload_bytes];
                stream.read_exact(&mut payload).await.unwrap();
                return (stream, payload);
            }
            refuse(&mut stream).await;
        }
    }
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl RawListener {
    pub(crate) async fn start(security: Security) -> Self {
        let key = Keypair::generate_ed25519();
        let mut transport = transport(&key, security);
        transport
            .listen_on(ListenerId::next(), super::loopback())
            .unwrap();
        let address = loop {
            if let TransportEvent::NewAddress { listen_addr, .. } =
                transport.select_next_some().await
            {
                break listen_addr;
            }
        };
        Self {
            peer: key.public().to_peer_id(),
            address,
            transport,
        }
    }

    /// The next connection.
    pub(crate) async fn accept(mut self) -> RawPeer {
        loop {
            if let TransportEvent::Incoming { upgrade, .. } =
                self.transport.select_next_some().await
            {
                let mut upgrade = std::pin::pin!(upgrade);
                let (peer, muxer) = loop {
                    tokio::select! {
                        connection = &mut upgrade => break connection.unwrap(),
                        _ = self.transport.select_next_some() => {}
                    }
                };
                return RawPeer::drive(peer, muxer, Some(self.transport));
            }
        }
    }
}

/// Reads header and proposed name.
async fn read_proposal(stream: &mut SubstreamBox) -> std::io::Result<Vec<u8>> {
    let mut start = vec![0; HEADER.len() + 1];
    stream.read_exact(&mut start).await?;
    let mut proposed = vec![0; usize::from(*start.last().unwrap())];
    stream.read_exact(&mut proposed).await?;
    Ok(proposed)
}

async fn refuse(stream: &mut SubstreamBox) {
    // The proposer may be gone already.
    let _ = stream.write_all(&[HEADER, NOT_AVAILABLE].concat()).await;
    let _ = stream.flush().await;
}

/// Header, name and payload as they are on the wire.
pub(crate) fn flight(name: &str, payload: &[u8]) -> Vec<u8> {
    [HEADER, &line(name), payload].concat()
}

/// A name as it is on the wire.
pub(crate) fn line(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len() + 1).unwrap();
    assert!(length < 0x80);
    [&[length], name.as_bytes(), b"\n"].concat()
}

/// Reads exactly `length` bytes.
pub(crate) async fn read(stream: &mut SubstreamBox, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// Reads to the end of the stream; `Err` if it was reset.
pub(crate) async fn read_to_end(stream: &mut SubstreamBox) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}
