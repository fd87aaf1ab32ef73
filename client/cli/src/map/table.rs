//! The map as a table for people.
//!
//! In the bar of a server every block is one cell: `█` online, `▒` joining, `×` offline or unreachable, `·` not its own.

use std::ops::Range;

use block_client::topology::{ModelTopology, ServerRow};
use block_program::amounts::{rate, shell_word};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// The whole text, with a line break at its end. `flag_to_join`: how another server joins the swarm.
pub(crate) fn text(model: &ModelTopology, flag_to_join: &str) -> String {
    let mut text = format!(
        "{}  {}  {}\n",
        plain(&model.id),
        model.state.in_words(),
        summary(model)
    );
    if !model.servers.is_empty() {
        text.push_str(&coverage(model));
        text.push_str(&lines(&servers(model)));
    }
    for command in missing(model, flag_to_join) {
        text.push_str(&format!("{command}\n"));
    }
    text
}

/// Blocks, servers, and what the weakest block can do.
pub(super) fn summary(model: &ModelTopology) -> String {
    let servers = match model.servers.len() {
        1 => "1 server".to_owned(),
        count => format!("{count} servers"),
    };
    format!(
        "{} of {} blocks covered, {servers}{}",
        model.covered,
        model.num_blocks,
        weakest(model)
    )
}

/// For each run of blocks without a server, what would fill it.
pub(super) fn missing(model: &ModelTopology, flag_to_join: &str) -> impl Iterator<Item = String> {
    let name = plain(&model.id);
    model.missing.iter().map(move |missing| {
        let name = shell_word(&name);
        format!("missing  {missing}: block-server --model {name} --blocks {missing} {flag_to_join}")
    })
}

/// A stranger's text without what could move the cursor, cut to a column's width.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_NAME_CHARS)
        .collect()
}

/// The lines of a table, without the blanks that fill them up.
pub(crate) fn lines(table: &Table) -> String {
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// What the weakest block can do, if its servers announce it.
fn weakest(model: &ModelTopology) -> String {
    match model.bottleneck.inference {
        known if known > 0.0 => format!(", weakest block {} tok/s", rate(known)),
        _ => String::new(),
    }
}

/// How many servers each block has.
fn coverage(model: &ModelTopology) -> String {
    let digits = replicas(model);
    let last = model.num_blocks.saturating_sub(1);
    format!("servers per block  0 ▏{digits}▕ {last}\n")
}

/// How many servers each block has, a digit for each cell of a bar: `9` stands for nine and more.
pub(super) fn replicas(model: &ModelTopology) -> String {
    cuts(model.num_blocks)
        .filter_map(|mut cut| {
            let offering = |block| model.servers.iter().filter(|row| row.offers(block)).count();
            let fewest = cut.next().map_or(0, offering);
            let fewest = cut.map(offering).fold(fewest, usize::min).min(9);
            char::from_digit(u32::try_from(fewest).ok()?, 10)
        })
        .collect()
}

fn servers(model: &ModelTopology) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(HEADER);
    for server in &model.servers {
        table.add_row(row(server, model.num_blocks));
    }
    for number in NUMBERS {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The cells of a server, under [`HEADER`].
pub(super) fn row(server: &ServerRow, num_blocks: usize) -> [String; 11] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let path = |is_relayed| if is_relayed { "relay" } else { "direct" };
    let hidden = server.peer_id.chars().count().saturating_sub(PEER_CHARS);
    let tail: String = server.peer_id.chars().skip(hidden).collect();
    [
        or_dash(server.public_name.as_deref().map(plain)),
        format!("…{tail}"),
        format!("{}:{}", server.start_block, server.end_block),
        bar(server, num_blocks),
        server.state.to_owned(),
        or_dash(server.inference_rps.map(rate)),
        or_dash(server.cache_tokens_left.map(|tokens| tokens.to_string())),
        or_dash(server.rtt_ms.map(|rtt| format!("{rtt:.1} ms"))),
        or_dash(server.using_relay.map(|relay| path(relay).to_owned())),
        or_dash(server.dtype.as_deref().map(plain)),
        or_dash(server.version.as_deref().map(plain)),
    ]
}

fn bar(server: &ServerRow, num_blocks: usize) -> String {
    let mark = match server.state {
        "online" => '█',
        "joining" => '▒',
        _ => '×',
    };
    let own = server.start_block..server.end_block;
    cuts(num_blocks)
        .map(|mut cut| {
            if cut.any(|block| own.contains(&block)) {
                mark
            } else {
                '·'
            }
        })
        .collect()
}

/// The blocks behind each cell of a bar: one block each, or as many as make the bar short enough.
fn cuts(num_blocks: usize) -> impl Iterator<Item = Range<usize>> {
    let cells = num_blocks.min(MAX_CELLS);
    let edge = move |cell: usize| cell * num_blocks / cells.max(1);
    (0..cells).map(move |cell| edge(cell)..edge(cell + 1))
}

/// Names of the columns.
pub(super) const HEADER: [&str; 11] = [
    "name", "peer", "blocks", "", "state", "tok/s", "cache", "rtt", "path", "dtype", "version",
];
/// The one that says how a server is.
pub(super) const STATE_COLUMN: usize = 4;
/// Columns of numbers.
const NUMBERS: [usize; 3] = [5, 6, 7];
/// Last characters of a peer id that are shown: enough to tell peers apart.
const PEER_CHARS: usize = 8;
/// Widest bar: it leaves room for the other columns on a wide terminal.
const MAX_CELLS: usize = 48;
/// Longest name shown.
const MAX_NAME_CHARS: usize = 40;

#[cfg(test)]
mod tests {
    use block_client::topology::{Contact, Contacts};
    use block_client::{Reach, ServerStatus, ViewSnapshot};
    use block_network::PeerId;
    use block_protocol::{ServerInfo, ServerState};

    use super::*;

    /// A model of so many blocks, with servers of these.
    fn model(num_blocks: usize, servers: &[Range<usize>]) -> ModelTopology {
        let servers = servers.iter().map(|blocks| ServerStatus {
            peer: PeerId::random(),
            state: ServerState::Online,
            blocks: blocks.clone(),
            throughput: 1.0,
            info: ServerInfo {
                public_name: Some("\u{1b}[31mred".to_owned()),
                ..ServerInfo::default()
            },
            reach: Reach::Unknown,
            banned_for: None,
            measured: None,
        });
        let snapshot = ViewSnapshot {
            dht_prefix: "m-hf".to_owned(),
            num_blocks,
            servers: servers.collect(),
            age: None,
            last_error: None,
        };
        let peers = snapshot.servers.iter().map(|server| server.peer);
        let contacts: Contacts = peers
            .map(|peer| (peer.to_string(), Contact::believed()))
            .collect();
        ModelTopology::new("m\u{7}", &snapshot, &contacts)
    }

    #[test]
    fn strangers_cannot_move_the_cursor() {
        let table = text(&model(8, std::slice::from_ref(&(0..8))), "--lan");
        assert!(!table.contains(['\u{1b}', '\u{7}']), "{table}");
        assert!(table.contains("████████"), "{table}");
    }

    #[test]
    fn long_models_and_empty_ones_fit_on_a_line() {
        let long = text(&model(126, std::slice::from_ref(&(0..100))), "--lan");
        assert!(long.contains("missing  100:126"), "{long}");
        assert!(
            long.lines().all(|line| line.chars().count() < 180),
            "{long}"
        );
        let empty = text(&model(8, &[]), "--lan");
        assert!(
            empty.contains("BROKEN") && empty.contains("missing  0:8"),
            "{empty}"
        );
    }
}
