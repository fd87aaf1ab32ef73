//! `swarm ps` and `swarm stop`: the sessions of a gateway.

use block_program::{Exit, Failure};
use comfy_table::{ContentArrangement, Table, presets};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::{PsFlags, StopFlags};
use crate::ending::Ending;
use crate::http_client::{HttpClient, HttpFailure};
use crate::map::{self, plain};
use crate::output;

/// `GET /v1/sessions`.
#[derive(Debug, Deserialize)]
struct SessionList {
    data: Vec<SessionRow>,
}

#[derive(Debug, Deserialize)]
struct SessionRow {
    id: String,
    model: String,
    state: String,
    age_seconds: f64,
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default, alias = "tokens")]
    completion_tokens: u64,
    #[serde(default)]
    caller: Option<String>,
    #[serde(default, alias = "hops")]
    route: Vec<RouteStop>,
}

#[derive(Debug, Deserialize)]
struct RouteStop {
    peer: String,
    blocks: String,
}

/// For `swarm stop --json`.
#[derive(Debug, Serialize)]
struct Stopped<'a> {
    id: &'a str,
    stopped: bool,
}

/// Prints the sessions.
///
/// # Errors
/// The gateway does not answer (exit 69), or wants a key (77).
pub(crate) async fn list(flags: PsFlags) -> Result<(), Ending> {
    let client = HttpClient::new(&flags.gateway)?;
    let request = client.request(Method::GET, &["v1", "sessions"]);
    let asked = client.json::<Value>(request).await;
    let answer = asked.map_err(|error| client.failure(&error))?;
    let list = SessionList::deserialize(&answer)
        .map_err(|error| client.failure(&HttpFailure::Nonsense(error.to_string())))?;
    if flags.json {
        output::json(&answer)
    } else {
        output::text(&text(&list))
    }
}

/// Ends one session.
///
/// # Errors
/// There is no such session (exit 66), the gateway does not answer (69), or wants a key (77).
pub(crate) async fn stop(flags: StopFlags) -> Result<(), Ending> {
    let client = HttpClient::new(&flags.gateway)?;
    let id = &flags.id;
    let request = client.request(Method::DELETE, &["v1", "sessions", id]);
    match client.json::<Value>(request).await {
        Ok(_) if flags.json => output::json(&Stopped { id, stopped: true }),
        Ok(_) => output::line(&format!("stopped {id}")),
        Err(HttpFailure::Refused { status, message }) if status == StatusCode::NOT_FOUND => {
            Err(Failure::new(Exit::NoInput, format!("no session {id}"))
                .cause(message)
                .hint("swarm ps lists them; one that has ended is not among them")
                .into())
        }
        Err(error) => Err(client.failure(&error).into()),
    }
}

fn text(list: &SessionList) -> String {
    if list.data.is_empty() {
        return "no session\n".to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header([
            "id", "model", "state", "age", "prompt", "answer", "caller", "route",
        ]);
    for session in &list.data {
        let route = session.route.iter().map(|stop| {
            let hidden = stop.peer.chars().count().saturating_sub(PEER_CHARS);
            let tail: String = stop.peer.chars().skip(hidden).collect();
            format!("{} …{}", plain(&stop.blocks), plain(&tail))
        });
        let route: Vec<String> = route.collect();
        table.add_row([
            plain_id(&session.id),
            plain(&session.model),
            plain(&session.state),
            age(session.age_seconds),
            session.prompt_tokens.to_string(),
            session.completion_tokens.to_string(),
            plain(session.caller.as_deref().unwrap_or("–")),
            route.join(" → "),
        ]);
    }
    map::lines(&table)
}

/// Whole, since it is what `swarm stop` is given.
fn plain_id(id: &str) -> String {
    id.chars().filter(|c| !c.is_control()).collect()
}

fn age(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min", whole / 60),
        _ => format!("{} h", whole / 3600),
    }
}

/// Last characters of a peer id that are shown: enough to tell peers apart.
const PEER_CHARS: usize = 8;
