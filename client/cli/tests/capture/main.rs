//! How hidden states travel: without loss to and from a Python server, in 8 bits on every link between our own peers.
//!
//! What our servers saw is read from their debug log lines, what the Python server saw from its own record.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test ends the test; the lint's exemption does not reach helpers of integration tests"
)]

mod size;
mod travel;

use block_testing::Maker::{Ours, Petals};
use block_testing::{
    Ask, BlockServer, Ending, Maker, Span, SpanServer, SwarmRun, Wanted, fable, start_all,
};

use travel::{Trace, Way};

/// A Python server with ours on both sides, and a link between two of ours.
const CHAIN: [(Maker, (u32, u32)); 4] = [
    (Ours, (0, 2)),
    (Petals, (2, 4)),
    (Ours, (4, 6)),
    (Ours, (6, 8)),
];

const PREFIX: &str = "capture";

const NEW_TOKENS: usize = 40;

/// `<s>Once upon a time`
const PROMPT: [u32; 5] = [0, 514, 486, 260, 423];

#[test]
fn a_python_server_in_the_middle() {
    let swarm = Swarm::start();
    let ending = swarm.run("auto");
    assert_eq!(ending.ids().len(), NEW_TOKENS);
    let [first, python, third, last] = [0, 1, 2, 3].map(|hop| Trace::of(&swarm.servers[hop]));
    // Every step and its answer, whichever way it came.
    for trace in [&first, &python, &third, &last] {
        assert_eq!(trace.steps(), NEW_TOKENS, "{trace:?}");
        assert_eq!(trace.of_way(Way::Reply).count(), NEW_TOKENS, "{trace:?}");
    }
    for ours in [&first, &third, &last] {
        ours.is_all("blockwise8-implied");
    }
    python.is_all("NONE");
    for trace in [&first, &python, &third] {
        assert_eq!(
            trace.of_way(Way::Push).count(),
            0,
            "nobody pushes here: {trace:?}"
        );
    }
    for trace in [&first, &python, &last] {
        assert_eq!(
            trace.of_way(Way::PushedOn).count(),
            0,
            "pushed on: {trace:?}"
        );
    }
    // The prompt and every token.
    assert_eq!(third.of_way(Way::PushedOn).count(), NEW_TOKENS, "{third:?}");
    assert!(
        last.of_way(Way::Push).count() > NEW_TOKENS / 2,
        "pushes come first, usually: {last:?}"
    );

    // What the user asks for holds on every link.
    let lossless = swarm.run("none");
    assert_eq!(lossless.summary["activation_codec"], "none");
    for (hop, before) in [(0, &first), (2, &third), (3, &last)] {
        Trace::of(&swarm.servers[hop]).after(before).is_all("none");
    }
}

struct Swarm {
    servers: Vec<SpanServer>,
    _anchor: BlockServer,
    bootstrap: String,
}

impl Swarm {
    fn start() -> Self {
        let span = Span {
            prefix: "anchor",
            blocks: "0:1",
            dtype: "f32",
            flags: &[],
        };
        let anchor = BlockServer::spawn("anchor", &fable(), &span, None);
        let bootstrap = anchor.await_ready().address;
        let wanted = CHAIN.map(|(maker, blocks)| Wanted {
            name: format!("{maker:?}-{}", blocks.0),
            maker,
            model: fable(),
            prefix: PREFIX.to_owned(),
            blocks,
            dtype: "f32",
            flags: vec!["--log-level", "debug", "--log-format", "json"],
        });
        Self {
            servers: start_all(&wanted, &bootstrap),
            _anchor: anchor,
            bootstrap,
        }
    }

    fn run(&self, codec: &'static str) -> Ending {
        let ask = Ask {
            model: fable(),
            prefix: PREFIX.to_owned(),
            bootstrap: self.bootstrap.clone(),
            prompt: PROMPT.to_vec(),
            max_tokens: NEW_TOKENS,
            past_the_end: true,
            codec,
            push: true,
            route: Vec::new(),
        };
        SwarmRun::ask(codec, &ask).finish()
    }
}
