use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;

struct Running {
    address: SocketAddr,
    ending: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(routes: Router, config: ListenerConfig) -> Running {
    let any = ([127, 0, 0, 1], 0).into();
    let listener = Listener::bind(any, config).await.unwrap();
    let (address, ending) = (listener.address(), CancellationToken::new());
    let task = tokio::spawn(listener.serve(routes, ending.clone()));
    Running {
        address,
        ending,
        task,
    }
}

fn quick() -> ListenerConfig {
    ListenerConfig {
        header_timeout: Duration::from_millis(300),
        ..ListenerConfig::default()
    }
}

fn hello() -> Router {
    let who = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() };
    Router::new().route("/", get(who))
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// What a peer gets until the connection ends; it does end.
async fn rest(mut stream: impl AsyncRead + Unpin) -> String {
    let mut text = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut text)).await;
    // A reset, too, is an end.
    let _ = read.expect("the connection ends");
    String::from_utf8(text).unwrap()
}

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_peer_that_trickles_its_headers_or_says_nothing_is_let_go() {
    let running = start(hello(), quick()).await;
    let silent = connect(running.address).await;
    let trickle = connect(running.address).await;
    let (reading, mut writing) = trickle.into_split();
    let trickling = tokio::spawn(async move {
        let _ = writing.write_all(b"GET / HTTP/1.1\r\n").await;
        // A byte at a time, each well within the time that the whole has.
        let mut beats = tokio::time::interval(Duration::from_millis(50));
        while writing.write_all(b"a").await.is_ok() {
            beats.tick().await;
        }
    });
    let began = tokio::time::Instant::now();
    let (silent, trickled) = tokio::join!(rest(silent), rest(reading));
    assert!(began.elapsed() >= Duration::from_millis(250));
    assert!(!silent.contains("200") && !trickled.contains("200"));
    trickling.abort();

    let mut prompt = connect(running.address).await;
    prompt.write_all(ASK).await.unwrap();
    let answer = rest(prompt).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"),
        "{answer}"
    );
}

#[tokio::test]
async fn long_headers_are_refused() {
    let running = start(hello(), ListenerConfig::default()).await;
    let ask = async |bytes: usize| {
        let mut stream = connect(running.address).await;
        let value = "x".repeat(bytes);
        let request =
            format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-long: {value}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        rest(stream).await
    };
    let fits = ask(15_000).await;
    assert!(fits.starts_with("HTTP/1.1 200"), "{fits}");
    let long = ask(17_000).await;
    assert!(long.starts_with("HTTP/1.1 431"), "{long}");
}

/// Tells when it is dropped.
struct Told(Option<oneshot::Sender<()>>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.take().map(|sender| sender.send(()));
    }
}

/// A stream of events without end, and what tells of its drop.
fn endless() -> (Router, oneshot::Receiver<()>) {
    let (sender, dropped) = oneshot::channel();
    let told = Arc::new(std::sync::Mutex::new(Some(Told(Some(sender)))));
    let route = get(move || {
        let told = told.lock().unwrap().take();
        async move {
            let chunks = futures::stream::repeat(vec![b'x'; 16 << 10]).map(move |chunk| {
                let _told = &told;
                Ok::<_, io::Error>(chunk)
            });
            Response::new(Body::from_stream(chunks))
        }
    });
    (Router::new().route("/", route), dropped)
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_let_go_and_one_that_leaves_is_noticed() {
    for leaves in [true, false] {
        let (routes, dropped) = endless();
        let config = ListenerConfig {
            stall_timeout: Duration::from_millis(if leaves { 60_000 } else { 300 }),
            ..ListenerConfig::default()
        };
        let running = start(routes, config).await;
        let mut stream = connect(running.address).await;
        stream.write_all(ASK).await.unwrap();
        stream.read_exact(&mut [0; 100]).await.unwrap();
        let kept = (!leaves).then_some(stream);
        timeout(PATIENCE, dropped).await.unwrap().unwrap();
        drop(kept);
    }
}

#[tokio::test]
async fn the_end_waits_for_answers_under_way_but_not_for_ever() {
    let (go, gone) = oneshot::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let shared = Arc::new(std::sync::Mutex::new(Some((gone, begun))));
    let slow = get(move || {
        let (gone, begun) = shared.lock().unwrap().take().unwrap();
        async move {
            let _ = begun.send(());
            let _ = gone.await;
            "done"
        }
    });
    let running = start(Router::new().route("/", slow), ListenerConfig::default()).await;
    let mut stream = connect(running.address).await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    has_begun.await.unwrap();
    let idle = connect(running.address).await;
    running.ending.cancel();
    assert_eq!(rest(idle).await, "");
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!running.task.is_finished());
    go.send(()).unwrap();
    assert!(rest(stream).await.ends_with("done"));
    timeout(PATIENCE, running.task).await.unwrap().unwrap();

    let (routes, dropped) = endless();
    let config = ListenerConfig {
        drain_timeout: Duration::from_millis(100),
        ..ListenerConfig::default()
    };
    let running = start(routes, config).await;
    let mut stream = connect(running.address).await;
    stream.write_all(ASK).await.unwrap();
    stream.read_exact(&mut [0; 10]).await.unwrap();
    running.ending.cancel();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
    timeout(PATIENCE, dropped).await.unwrap().unwrap();
}

#[tokio::test]
async fn tls_is_served_with_the_certificate_of_a_file_and_a_silent_handshake_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.key_pair.serialize_pem()).unwrap();
    let tls = Tls::read(&path("cert.pem"), &path("key.pem")).unwrap();
    let config = ListenerConfig {
        tls: Some(tls),
        ..ListenerConfig::default()
    };
    let running = start(hello(), config.clone()).await;

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(made.cert.der().to_vec()))
        .unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connect(running.address).await;
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(ASK).await.unwrap();
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let header_timeout = quick().header_timeout;
    let hasty = ListenerConfig {
        header_timeout,
        ..config
    };
    let running = start(hello(), hasty).await;
    let silent = connect(running.address).await;
    assert_eq!(rest(silent).await, "");
    let mut plain = connect(running.address).await;
    plain.write_all(ASK).await.unwrap();
    assert!(!rest(plain).await.contains("200"));
}

#[test]
fn files_that_are_no_certificate_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("other.pem"), other.key_pair.serialize_pem()).unwrap();
    std::fs::write(path("empty.pem"), "").unwrap();
    let read = |cert: &str, key: &str| Tls::read(&path(cert), &path(key)).unwrap_err();
    for missing in ["gone.pem", "empty.pem", "other.pem"] {
        let error = read(missing, "other.pem");
        assert!(matches!(error, TlsError::Certificate(..)), "{error}");
        assert!(error.to_string().contains(missing), "{error}");
    }
    let error = read("cert.pem", "gone.pem");
    assert!(matches!(error, TlsError::Key(..)), "{error}");
    let error = read("cert.pem", "other.pem");
    assert!(matches!(error, TlsError::Mismatch(_)), "{error}");
}
