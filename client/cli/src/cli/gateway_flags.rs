//! Flags of `swarm gateway`.

use std::net::SocketAddr;
use std::path::PathBuf;

use block_network::PeerId;
use clap::Args;
use clap::builder::BoolishValueParser;

use super::door_flags::DoorFlags;
use super::flags::{HubFlags, ModelFlags, SwarmFlags};

/// Flags of `swarm gateway`.
#[derive(Debug, Clone, Args)]
pub(crate) struct GatewayFlags {
    /// Which models.
    #[command(flatten)]
    pub(crate) models: ServedFlags,
    /// Which swarm.
    #[command(flatten)]
    pub(crate) swarm: SwarmFlags,

    /// Where to listen for HTTP; port 0 takes a free one
    #[arg(
        long,
        env = "SWARM_GATEWAY_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8000"
    )]
    pub(crate) listen: SocketAddr,

    /// Serve the page for people at /: on or off
    #[arg(
        long,
        env = "SWARM_PAGE",
        value_name = "WHEN",
        default_value = "on",
        value_parser = ["on", "off"]
    )]
    pub(crate) page: String,

    /// Tell the page and /v1/system the addresses of servers, not only their peer ids
    #[arg(long, env = "SWARM_TOPOLOGY_ADDRESSES", value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub(crate) topology_addresses: bool,

    /// Answer other programs' paths, too: petals, the JSON of Petals' health monitor and the API of its chat; kekahyde,
    /// executions that are started, watched and cancelled [default: none]
    #[arg(long, env = "SWARM_COMPAT", value_name = "API", value_delimiter = ',', value_parser = ["petals", "kekahyde"], hide_short_help = true)]
    pub(crate) compat: Vec<String>,

    /// Servers on other machines that executions may use although their policy forbids networking [default: none]
    #[arg(
        long,
        env = "SWARM_TRUSTED_PEERS",
        value_name = "PEER",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub(crate) trusted_peers: Vec<PeerId>,

    /// Who comes in.
    #[command(flatten)]
    pub(crate) door: DoorFlags,
}

/// Which models, how they are served, and where their files come from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct ServedFlags {
    /// A hub name (ORG/NAME), a local folder or a GGUF file; give the flag again, or commas, for more [default: none]
    #[arg(
        long = "model",
        env = "SWARM_MODEL",
        value_name = "MODEL",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) models: Vec<String>,

    /// What requests call the models, in their order [default: the hub name, or the folder's]
    #[arg(
        long = "served-model-name",
        env = "SWARM_SERVED_MODEL_NAME",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) names: Vec<String>,

    /// Most tokens of an answer; a request for more is refused [default: what the model takes]
    #[arg(long, env = "SWARM_MAX_TOKENS_CAP", value_name = "N", value_parser = parse_tokens)]
    pub(crate) max_tokens_cap: Option<usize>,

    /// Most tokens of a prompt and its answer [default: what the model was made for]
    #[arg(long, env = "SWARM_MAX_MODEL_LEN", value_name = "N", value_parser = parse_tokens)]
    pub(crate) max_model_len: Option<usize>,

    /// Jinja file that makes a prompt of a conversation, for all models [default: each model's own; a model without one
    /// goes on with the conversation as plain text]
    #[arg(long, env = "SWARM_CHAT_TEMPLATE", value_name = "FILE")]
    pub(crate) chat_template: Option<PathBuf>,

    /// Let callers name the servers of their route, in the field route
    #[arg(long, env = "SWARM_ALLOW_ROUTE", value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub(crate) allow_route: bool,

    /// Prefix of the model's DHT keys, for one model [default: from the model's name by Petals' rule, as servers derive
    /// it]
    #[arg(
        long,
        env = "SWARM_DHT_PREFIX",
        value_name = "P",
        hide_short_help = true
    )]
    pub(crate) dht_prefix: Option<String>,

    /// Where their files come from.
    #[command(flatten)]
    pub(crate) hub: HubFlags,
}

impl ServedFlags {
    /// One of the models, as the commands of one model name it.
    pub(crate) fn of(&self, model: &str) -> ModelFlags {
        ModelFlags {
            model: model.to_owned(),
            dht_prefix: self.dht_prefix.clone(),
            hub: self.hub.clone(),
        }
    }
}

fn parse_tokens(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("expected a number of tokens from 1".to_owned()),
    }
}
