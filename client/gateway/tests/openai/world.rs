//! One swarm of two servers for all tests, and a gateway to it.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use block_client::{ModelOptions, ModelSource, Swarm, SwarmConfig};
use block_gateway::{
    Gateway, GatewayConfig, Listener, ListenerConfig, ServedModel, ServedModelOptions, router,
};
use block_testing::{BlockServer, PATIENCE, Span, admin_get, fable};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::events::Events;
use crate::wire::{Wire, send};

/// Servers of the repository's model, each with a part of its blocks.
pub(crate) struct TestSwarm {
    pub(crate) servers: Vec<BlockServer>,
    address: String,
}

/// A gateway that listens.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
}

/// Outlives every test, with all that runs on it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

static SWARM: LazyLock<TestSwarm> = LazyLock::new(|| TestSwarm::start("world", &["0:4", "4:8"]));

static SERVED: LazyLock<Served> = LazyLock::new(|| SWARM.serve(GatewayConfig::default()));

/// The gateway that tests share.
pub(crate) fn served() -> &'static Served {
    &SERVED
}

/// The swarm that tests share.
pub(crate) fn swarm() -> &'static TestSwarm {
    &SWARM
}

impl TestSwarm {
    pub(crate) fn start(name: &str, spans: &[&str]) -> Self {
        Self::start_with(name, spans, &[])
    }

    /// With more flags for each server.
    pub(crate) fn start_with(name: &str, spans: &[&str], flags: &[&str]) -> Self {
        let mut servers: Vec<BlockServer> = Vec::new();
        let mut address: Option<String> = None;
        for (number, blocks) in spans.iter().enumerate() {
            let span = Span {
                prefix: "fable-7m-hf",
                blocks,
                dtype: "f32",
                flags,
            };
            let name = format!("gateway-{name}-{number}");
            let server = BlockServer::spawn(&name, &fable(), &span, address.as_deref());
            let contact = server.await_ready();
            address.get_or_insert(contact.address);
            servers.push(server);
        }
        Self {
            servers,
            address: address.unwrap(),
        }
    }

    /// A gateway to this swarm, which has read its records.
    pub(crate) fn serve(&self, config: GatewayConfig) -> Served {
        self.serve_as(config, ServedModelOptions::new("org/fable"))
    }

    pub(crate) fn serve_as(&self, config: GatewayConfig, options: ServedModelOptions) -> Served {
        let gateway = RUNTIME.block_on(async {
            let config_of_swarm = SwarmConfig {
                refresh_period: Duration::from_secs(1),
                ..SwarmConfig::new(vec![self.address.parse().unwrap()])
            };
            let swarm = Swarm::join(config_of_swarm).await.unwrap();
            let source = ModelSource::directory(fable()).unwrap();
            let remote = swarm.load(source, ModelOptions::default()).await.unwrap();
            remote.view.ready(PATIENCE).await.unwrap();
            let model = ServedModel::new(remote, options).unwrap();
            Gateway::new(vec![model], config)
        });
        Served::of(gateway, |gateway, _| router(gateway.clone()))
    }

    /// Where to join it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sessions that each server has open, by its own count.
    pub(crate) fn open_sessions(&self) -> Vec<u64> {
        self.servers.iter().map(open_sessions).collect()
    }
}

/// Sessions that a server has open.
pub(crate) fn open_sessions(server: &BlockServer) -> u64 {
    metric(server, "block_server_sessions_active ")
}

/// The sum of a server's metrics whose lines begin so.
pub(crate) fn metric(server: &BlockServer, prefix: &str) -> u64 {
    let log = server.log();
    let line = log.lines().find(|line| line.contains("admin port listens"));
    let (_, address) = line.unwrap().split_once("address=").unwrap();
    let address = address.split_whitespace().next().unwrap();
    let (_, metrics) = admin_get(address, "/metrics");
    let lines = metrics.lines().filter(|line| line.starts_with(prefix));
    let values = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    values.sum()
}

pub(crate) fn on_runtime<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// Serves until the test program ends.
pub(crate) fn serve(listener: Listener, routes: axum::Router) {
    RUNTIME.spawn(listener.serve(routes, CancellationToken::new()));
}

impl Served {
    /// A gateway whose routes are made once its address is known.
    pub(crate) fn of(
        gateway: Gateway,
        routes: impl FnOnce(&Gateway, SocketAddr) -> axum::Router,
    ) -> Self {
        let any = ([127, 0, 0, 1], 0).into();
        let listener = on_runtime(Listener::bind(any, ListenerConfig::default()));
        let listener = listener.unwrap();
        let address = listener.address();
        let _guard = RUNTIME.enter();
        serve(listener, routes(&gateway, address));
        Self { gateway, address }
    }

    pub(crate) fn get(&self, path: &str) -> Wire {
        Wire::read(send(self.address, ("GET", path), None))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Wire {
        Wire::read(send(self.address, ("POST", path), Some(body)))
    }

    /// The JSON of a call that succeeds.
    pub(crate) fn ok(&self, path: &str, body: &Value) -> Value {
        let wire = self.post(path, body);
        let status = wire.status;
        let value = wire.json();
        assert_eq!(status, 200, "{value}");
        value
    }

    /// The events of a stream.
    pub(crate) fn stream(&self, path: &str, body: &Value) -> Events {
        let mut body = body.clone();
        body["stream"] = true.into();
        Events::new(self.post(path, &body))
    }

    /// Status and error object of a call that fails.
    pub(crate) fn error(&self, path: &str, body: &Value) -> (u16, Value) {
        let wire = self.post(path, body);
        let status = wire.status;
        let mut value = wire.json();
        assert!(status >= 400, "{value}");
        (status, value["error"].take())
    }
}

/// A chat of one message, greedy, and more fields.
pub(crate) fn chat(prompt: &str, more: &Value) -> Value {
    with(
        json!({
            "model": "org/fable",
            "messages": [{ "role": "user", "content": prompt }],
            "temperature": 0,
            "max_tokens": 24,
        }),
        more,
    )
}

/// A text to complete, greedy, and more fields.
pub(crate) fn text(prompt: &str, more: &Value) -> Value {
    with(
        json!({ "model": "org/fable", "prompt": prompt, "temperature": 0, "max_tokens": 24 }),
        more,
    )
}

fn with(mut body: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// Waits until `condition` holds, `patience` at most.
pub(crate) fn within(patience: Duration, what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + patience;
    while !condition() {
        assert!(
            std::time::Instant::now() < deadline,
            "not within {patience:?}: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
