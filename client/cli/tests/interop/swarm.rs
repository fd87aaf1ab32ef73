//! The servers, and the Python client that is asked the same.

use std::path::PathBuf;
use std::sync::LazyLock;

use block_testing::{
    Ask, BlockServer, PATIENCE, PythonPeer, Role, Span, SpanServer, SwarmRun, Wanted, fable,
    start_all, temporary,
};
use serde_json::{Value, json};

use crate::chains::{Cast, Cuts, FABLE, RANDOM, Stop};

/// Started by the first test that asks for it.
pub(crate) static SWARM: LazyLock<Swarm> = LazyLock::new(Swarm::start);

#[derive(Debug)]
pub(crate) struct Swarm {
    /// A Petals client beside transformers itself.
    pub(crate) client: PythonPeer,
    bootstrap: String,
    models: [Model; 2],
    _anchor: BlockServer,
}

/// Which of the two models.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Fable,
    Random,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) folder: PathBuf,
    pub(crate) prefix: &'static str,
    pub(crate) cuts: &'static Cuts,
    servers: Vec<(Cast, SpanServer)>,
}

impl Swarm {
    fn start() -> Self {
        let client = PythonPeer::spawn("client", Role::Client);
        let span = Span {
            prefix: "anchor",
            blocks: "0:1",
            dtype: "f32",
            flags: &[],
        };
        let anchor = BlockServer::spawn("anchor", &fable(), &span, None);
        let bootstrap = anchor.await_ready().address;
        client.await_ready();
        let random = temporary("random-model");
        client.call::<()>("make_model", json!({ "folder": random }));

        let models = [(fable(), "fable", &FABLE), (random, "random", &RANDOM)];
        let wanted: Vec<(Wanted, Cast)> = models
            .iter()
            .flat_map(|(folder, prefix, cuts)| {
                cuts.cast().into_iter().map(move |cast| {
                    let (maker, (first, end)) = cast;
                    let wanted = Wanted {
                        name: format!("{prefix}-{maker:?}-{first}-{end}"),
                        maker,
                        model: folder.clone(),
                        prefix: (*prefix).to_owned(),
                        blocks: cast.1,
                        dtype: "f32",
                        flags: Vec::new(),
                    };
                    (wanted, cast)
                })
            })
            .collect();
        let (wanted, casts): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
        let mut servers = casts.into_iter().zip(start_all(&wanted, &bootstrap));
        let models = models.map(|(folder, prefix, cuts)| {
            let servers = servers.by_ref().take(cuts.cast().len()).collect();
            let arguments =
                json!({ "model": folder, "prefix": prefix, "initial_peers": [bootstrap] });
            client.call::<Value>("open", arguments);
            let arguments =
                json!({ "prefix": prefix, "servers": 1, "patience_s": PATIENCE.as_secs() / 2 });
            client.call::<Value>("route", arguments);
            Model {
                folder,
                prefix,
                cuts,
                servers,
            }
        });
        Self {
            client,
            bootstrap,
            models,
            _anchor: anchor,
        }
    }

    pub(crate) fn model(&self, which: Which) -> &Model {
        match which {
            Which::Fable => &self.models[0],
            Which::Random => &self.models[1],
        }
    }

    /// Has our client begin to continue `prompt` through `chain`.
    pub(crate) fn ask(
        &self,
        which: Which,
        chain: &[Stop],
        prompt: &[u32],
        max_tokens: usize,
    ) -> SwarmRun {
        let model = self.model(which);
        let ask = Ask {
            model: model.folder.clone(),
            prefix: model.prefix.to_owned(),
            bootstrap: self.bootstrap.clone(),
            prompt: prompt.to_vec(),
            max_tokens,
            past_the_end: false,
            codec: "none",
            push: true,
            route: chain.iter().map(|stop| model.peer(stop.server)).collect(),
        };
        SwarmRun::ask(model.prefix, &ask)
    }
}

impl Model {
    /// The peer id of one of the servers.
    pub(crate) fn peer(&self, cast: Cast) -> String {
        let (_, server) = self
            .servers
            .iter()
            .find(|(other, _)| *other == cast)
            .expect("one of the cast");
        server.contact.peer_id.clone()
    }
}
