//! What systemd is told about a service of `Type=notify`: that it is ready, that it stops.
//!
//! Source: sd_notify(3). Without `NOTIFY_SOCKET` nobody listens, and nothing is sent.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What happened to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceEvent {
    /// It serves from now on.
    Ready,
    /// It ends in good order.
    Stopping,
}

/// Tells the service manager, if there is one. A manager that does not listen is no reason to stop.
pub fn tell(event: ServiceEvent) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&socket, event) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

fn send(socket: &OsStr, event: ServiceEvent) -> io::Result<()> {
    let text = match event {
        ServiceEvent::Ready => "READY=1",
        ServiceEvent::Stopping => "STOPPING=1",
    };
    let address = match socket.as_bytes() {
        // A name that begins with `@` is in the abstract space of Linux.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(OsString::from(socket))?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_are_spoken_to() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("notify");
        let name = format!("@block-program-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let sockets = [
            (
                path.as_os_str().to_owned(),
                UnixDatagram::bind(&path).unwrap(),
            ),
            (
                name.into(),
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
            ),
        ];
        for (address, socket) in sockets {
            for (event, text) in [
                (ServiceEvent::Ready, "READY=1"),
                (ServiceEvent::Stopping, "STOPPING=1"),
            ] {
                send(&address, event).unwrap();
                let mut heard = [0; 32];
                let length = socket.recv(&mut heard).unwrap();
                assert_eq!(&heard[..length], text.as_bytes());
            }
        }
        assert!(send(OsStr::new("nowhere/notify"), ServiceEvent::Ready).is_err());
    }
}
