//! What one server saw of the hidden states of its sessions.

use block_testing::SpanServer;
use serde_json::Value;

/// One tensor with at least one token.
#[derive(Clone, Debug)]
pub(crate) struct Travel {
    way: Way,
    codec: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Came on the client's stream.
    Stream,
    /// Came from the server before.
    Push,
    /// Went back to the client.
    Reply,
    /// Went on to the next server.
    PushedOn,
}

/// In the order in which it happened.
#[derive(Debug)]
pub(crate) struct Trace(Vec<Travel>);

impl Trace {
    pub(crate) fn of(server: &SpanServer) -> Self {
        let recorded = server.recorded();
        let log = server.log();
        let logged = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let logged = logged.filter_map(|line: Value| of_ours(&line));
        Self(
            recorded
                .iter()
                .filter_map(of_python)
                .chain(logged)
                .collect(),
        )
    }

    /// What came after an earlier trace of the same server.
    pub(crate) fn after(mut self, earlier: &Self) -> Self {
        self.0.drain(..earlier.0.len());
        self
    }

    /// Steps that came, whichever way; the second copy of a pushed step is not counted.
    pub(crate) fn steps(&self) -> usize {
        self.of_way(Way::Stream).count() + self.of_way(Way::Push).count()
    }

    pub(crate) fn of_way(&self, way: Way) -> impl Iterator<Item = &Travel> {
        self.0.iter().filter(move |travel| travel.way == way)
    }

    pub(crate) fn is_all(&self, codec: &str) {
        let other: Vec<_> = self
            .0
            .iter()
            .filter(|travel| travel.codec != codec)
            .collect();
        assert!(
            other.is_empty() && !self.0.is_empty(),
            "not {codec}: {other:?} of {}",
            self.0.len()
        );
    }
}

/// A line of `scripts/peers/wire_record.py`.
fn of_python(line: &Value) -> Option<Travel> {
    let way = match line["way"].as_str()? {
        "stream" => Way::Stream,
        "push" => Way::Push,
        _ => Way::Reply,
    };
    let has_tokens = line["shape"][1].as_u64()? > 0;
    travel(way, &line["compression"], has_tokens)
}

/// A debug line of a server of ours.
fn of_ours(line: &Value) -> Option<Travel> {
    let way = match line["message"].as_str()? {
        "step received" if line["from"] == "push" => Way::Push,
        "step received" => Way::Stream,
        "step answered" => Way::Reply,
        "step pushed on" => Way::PushedOn,
        _ => return None,
    };
    travel(way, &line["codec"], line["tokens"].as_u64()? > 0)
}

fn travel(way: Way, codec: &Value, has_tokens: bool) -> Option<Travel> {
    let codec = codec.as_str()?.to_owned();
    has_tokens.then_some(Travel { way, codec })
}
