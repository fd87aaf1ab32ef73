//! Servers that a generation goes through, and servers to spare.

use std::collections::BTreeMap;
use std::time::Instant;

use block_testing::{
    Ask, BlockServer, Maker, Span, SpanServer, SwarmRun, Wanted, fable, start_all,
};

use crate::case::{Case, Fault};
use crate::prompts::{MOST_TOKENS, asked, prompt};
use crate::verdict::Disturbed;

/// Blocks of the three hops.
pub(crate) const CUTS: [Cast; 3] = [
    (Maker::Ours, (0, 3)),
    (Maker::Ours, (3, 6)),
    (Maker::Ours, (6, 8)),
];

/// Flags of every server: room for eight sessions of one peer, twice if it serves two hops.
pub(crate) const FLAGS: [&str; 2] = ["--max-sessions-per-peer", "16"];

/// How often a case may begin.
const MAX_STARTS: usize = 5;

/// A DHT node that no case kills: a server of another model's block.
#[derive(Debug)]
pub(crate) struct Anchor {
    pub(crate) address: String,
    _server: BlockServer,
}

/// Who holds what.
pub(crate) type Cast = (Maker, (u32, u32));

#[derive(Debug)]
pub(crate) struct Stage {
    anchor: Anchor,
    /// Of every model here and every log.
    prefix: String,
    dtype: &'static str,
    used: Vec<SpanServer>,
    spares: Vec<SpanServer>,
    servers_started: usize,
    /// By codec and prompt: what comes out if nothing fails.
    undisturbed: BTreeMap<(&'static str, usize), Vec<u32>>,
}

impl Anchor {
    pub(crate) fn start(name: &str) -> Self {
        let span = Span {
            prefix: "anchor",
            blocks: "0:1",
            dtype: "f32",
            flags: &[],
        };
        let server = BlockServer::spawn(&format!("{name}-anchor"), &fable(), &span, None);
        Self {
            address: server.await_ready().address,
            _server: server,
        }
    }
}

impl Stage {
    /// Starts servers for a route and others to spare.
    pub(crate) fn start(name: &str, dtype: &'static str, used: &[Cast], spares: &[Cast]) -> Self {
        let mut stage = Self {
            anchor: Anchor::start(name),
            prefix: name.to_owned(),
            dtype,
            used: Vec::new(),
            spares: Vec::new(),
            servers_started: 0,
            undisturbed: BTreeMap::new(),
        };
        let mut servers = stage.servers(&[used, spares].concat());
        stage.spares = servers.split_off(used.len());
        stage.used = servers;
        stage
    }

    /// Runs a case; the lost server stays lost.
    pub(crate) fn play(&mut self, case: &Case) -> Vec<Disturbed> {
        let hop = case.place.hop();
        self.learn_undisturbed(case.codec, case.sessions);
        let runs = self.reach(case);
        let at = Instant::now();
        match case.fault {
            Fault::Kill => self.used[hop].kill(),
            Fault::Stop => self.used[hop].pause(),
        }
        let disturbed = |(number, run): (usize, SwarmRun)| {
            let ending = run.end();
            let seen = ending.tokens.iter().filter(|line| line.at <= at).count();
            Disturbed {
                ending,
                seen,
                asked: asked(case.token),
                prompt_tokens: prompt(number).len(),
                expected: self.undisturbed[&(case.codec, number)].clone(),
                route: self.route(),
                lost: hop,
            }
        };
        let disturbed = runs.into_iter().enumerate().map(disturbed).collect();
        self.used[hop].kill();
        disturbed
    }

    /// Starts the case's generations and waits until all have the tokens for the fault. On a busy machine the first may
    /// be over before the last is there; then all begin again.
    fn reach(&self, case: &Case) -> Vec<SwarmRun> {
        let ask = |prompt: usize| self.ask(case.codec, prompt, asked(case.token), case.push);
        for _ in 0..MAX_STARTS {
            let mut runs: Vec<SwarmRun> = (0..case.sessions)
                .map(|prompt| SwarmRun::ask(&format!("{}-{prompt}", self.prefix), &ask(prompt)))
                .collect();
            for run in &mut runs {
                run.await_tokens(case.token);
            }
            if runs.iter_mut().all(|run| run.summary().is_none()) {
                return runs;
            }
            for run in runs {
                run.finish();
            }
        }
        panic!("{case}: a generation was over before the last began, {MAX_STARTS} times");
    }

    /// What comes out after a prompt if nothing fails.
    pub(crate) fn undisturbed(&mut self, codec: &'static str, prompt: usize) -> Vec<u32> {
        self.learn_undisturbed(codec, prompt + 1);
        self.undisturbed[&(codec, prompt)].clone()
    }

    /// The hop's spare takes the lost server's place, and a new server that of the spare.
    pub(crate) fn restock(&mut self, hop: usize) {
        let spare = self
            .servers(&[(Maker::Ours, self.used[hop].blocks)])
            .remove(0);
        self.used[hop] = std::mem::replace(&mut self.spares[hop], spare);
    }

    /// Lets all that cases will be compared with be said by the same servers, undisturbed: after each of the first
    /// `prompts` prompts.
    fn learn_undisturbed(&mut self, codec: &'static str, prompts: usize) {
        let unknown: Vec<usize> = (0..prompts)
            .filter(|prompt| !self.undisturbed.contains_key(&(codec, *prompt)))
            .collect();
        let run = |prompt: &usize| {
            let ask = self.ask(codec, *prompt, MOST_TOKENS, true);
            SwarmRun::ask(&format!("{}-undisturbed-{prompt}", self.prefix), &ask)
        };
        let runs: Vec<SwarmRun> = unknown.iter().map(run).collect();
        for (prompt, run) in unknown.into_iter().zip(runs) {
            let ending = run.finish();
            assert_eq!(ending.count("failovers"), 0, "{}", ending.summary);
            assert_eq!(ending.ids().len(), MOST_TOKENS);
            self.undisturbed.insert((codec, prompt), ending.ids());
        }
    }

    fn ask(&self, codec: &'static str, number: usize, max_tokens: usize, push: bool) -> Ask {
        Ask {
            model: fable(),
            prefix: self.prefix.clone(),
            bootstrap: self.anchor.address.clone(),
            prompt: prompt(number),
            max_tokens,
            past_the_end: true,
            codec,
            push,
            route: self.route(),
        }
    }

    /// Where to join.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.anchor.address
    }

    /// The DHT prefix of the model.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The server of a hop.
    pub(crate) fn server(&self, hop: usize) -> &SpanServer {
        &self.used[hop]
    }

    /// The peers of the hops.
    pub(crate) fn route(&self) -> Vec<String> {
        let peer = |server: &SpanServer| server.contact.peer_id.clone();
        self.used.iter().map(peer).collect()
    }

    fn servers(&mut self, cast: &[Cast]) -> Vec<SpanServer> {
        let wanted: Vec<Wanted> = cast
            .iter()
            .map(|(maker, blocks)| {
                self.servers_started += 1;
                Wanted {
                    name: format!("{}-{}", self.prefix, self.servers_started),
                    maker: *maker,
                    model: fable(),
                    prefix: self.prefix.clone(),
                    blocks: *blocks,
                    dtype: self.dtype,
                    flags: FLAGS.to_vec(),
                }
            })
            .collect();
        start_all(&wanted, &self.anchor.address)
    }
}
