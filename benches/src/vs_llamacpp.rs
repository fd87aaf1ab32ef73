//! `vs-llamacpp`: our engine against llama.cpp with the same shapes and as many bits a weight: in one process on every
//! core, and as a chain of two servers with one thread each against its own RPC.
//!
//! llama.cpp's side is its own `llama-bench`, which also runs an embedding and a head of 512 tokens, next to nothing.

use std::path::Path;

use anyhow::{Context, Result};
use block_client::{Swarm, SwarmConfig};
use tokio::runtime::Builder;

use crate::chain::remote::{Remote, Way};
use crate::figure::{Figure, Goal};
use crate::format::Format;
use crate::host;
use crate::models::Stack;
use crate::processes::llama_cpp::{self, RpcServer, Task};
use crate::processes::{BlockServer, Holding};
use crate::rounds::{Effort, Rounds, Subject};
use crate::workload::Workload;

const BENCH: &str = "vs-llamacpp";

const CONTEXT: usize = 128;

/// Tokens of one sample.
const TOKENS: usize = 16;

const PROMPTS: [usize; 2] = [128, 512];
const LONGEST_PROMPT: usize = 512;

/// Servers of a chain.
const SERVERS: usize = 2;

/// The one chain of a quick run.
const QUICK_CHAIN: Format = Format::Int8;

/// A chain must be ahead.
const CHAIN_GOAL: Goal = Goal::AtLeast(1.0);

/// Our format, theirs with the same bits, and how many times as fast ours must decode and read prompts.
const PAIRS: [(Format, &str, f64, f64); 3] = [
    (Format::Bf16, "BF16", 1.1, 1.6),
    (Format::Int8, "Q8_0", 1.2, 3.0),
    (Format::Int4, "Q4_0", 1.2, 1.5),
];

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for stack in Stack::measured(quick) {
        for pair in PAIRS {
            figures.extend(one_process(stack, pair, quick)?);
            // Servers take seconds to start.
            if !quick || pair.0 == QUICK_CHAIN {
                figures.push(chain(stack, pair, quick)?);
            }
        }
    }
    Ok(figures)
}

/// Decoding and prompts on every core.
fn one_process(
    stack: Stack,
    (format, theirs, decode_goal, prompt_goal): (Format, &str, f64, f64),
    quick: bool,
) -> Result<Vec<Figure>> {
    // Before ours is loaded: it may be missing.
    let gguf = llama_cpp::model(stack, theirs)?;
    let span = format.load(&stack.checkpoint()?, stack.blocks)?;
    let workload = Workload::new(span, LONGEST_PROMPT);
    let sessions = workload.open(1, CONTEXT, TOKENS)?;
    let prompt = workload.open(1, 0, LONGEST_PROMPT)?;
    let threads = host::cores();
    let bench = |task| llama_cpp::bench(&gguf, task, threads, &[]);
    let name = |what: &str| format!("{} {}, {what}", stack.shape.name, format.name());
    let measure = |what: &str, ours: &dyn Fn() -> Result<f64>, task| {
        let subjects = vec![
            Subject::new(|| Ok(vec![ours()?])),
            Subject::new(|| Ok(vec![bench(task)?])),
        ];
        let title = format!("{BENCH}, {}", name(what));
        let effort = Effort::new(9, quick, 2);
        Rounds::measure_beside_stream(&title, effort, threads, subjects)
    };

    let task = Task::Decode {
        context: CONTEXT,
        tokens: TOKENS,
    };
    let rounds = measure("decode", &|| workload.decode(&sessions, 1, TOKENS), task)?;
    let speed = Figure::new(
        BENCH,
        name("decode"),
        rounds.stream_ratio(1, 0),
        "x llama.cpp",
    );
    let mut figures = vec![speed.with_goal(Goal::AtLeast(decode_goal))];
    figures.extend(times(stack, &name("decode"), &rounds));
    let prompts = if quick { &PROMPTS[..1] } else { &PROMPTS };
    for tokens in prompts.iter().copied() {
        let what = format!("prompt {tokens}");
        let rounds = measure(
            &what,
            &|| workload.prompt(&prompt, tokens),
            Task::Prompt(tokens),
        )?;
        let speed = Figure::new(BENCH, name(&what), rounds.ratio(1, 0), "x llama.cpp");
        figures.push(speed.with_goal(Goal::AtLeast(prompt_goal)));
        figures.extend(times(stack, &name(&what), &rounds));
    }
    Ok(figures)
}

/// Times of a block, ours and theirs.
fn times(stack: Stack, name: &str, rounds: &Rounds) -> [Figure; 2] {
    [(", ours", 0), (", llama.cpp", 1)].map(|(side, index)| {
        let per_block = rounds.spread(|seconds| seconds[index] / stack.blocks as f64 * 1e3);
        Figure::new(BENCH, format!("{name}{side}"), per_block, "ms/block")
    })
}

/// Decoding over two servers of each kind.
fn chain(
    stack: Stack,
    (format, theirs, _, _): (Format, &str, f64, f64),
    quick: bool,
) -> Result<Figure> {
    let gguf = llama_cpp::model(stack, theirs)?;
    let model = stack.checkpoint()?;
    let servers = our_servers(stack, format, &model)?;
    let address = &servers.first().context("servers are running")?.address;
    let rpc: Vec<RpcServer> = (0..SERVERS)
        .map(|_| RpcServer::start())
        .collect::<Result<_>>()?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let swarm = runtime.block_on(Swarm::join(SwarmConfig::new(vec![address.parse()?])))?;
    let way = Way {
        prefix: PREFIX,
        servers: SERVERS,
        blocks: stack.blocks,
        hidden: stack.shape.hidden,
        past: CONTEXT,
        max_length: CONTEXT + TOKENS,
    };
    let mut remote = Remote::open(&runtime, &swarm, way)?;
    let name = format!(
        "{} {}, decode, chain of {SERVERS}",
        stack.shape.name,
        format.name()
    );
    let task = Task::Decode {
        context: CONTEXT,
        tokens: TOKENS,
    };
    let ours = Subject::timed(|| remote.run(TOKENS, true).map(drop));
    let theirs = Subject::new(|| {
        Ok(vec![
            llama_cpp::bench(&gguf, task, 1, &rpc)? * TOKENS as f64,
        ])
    });
    let effort = Effort::new(9, quick, 3);
    let title = format!("{BENCH}, {name}");
    let rounds = Rounds::measure_beside_stream(&title, effort, 1, vec![ours, theirs])?;
    remote.close();
    runtime.block_on(swarm.shutdown());
    let speed = Figure::new(BENCH, name, rounds.stream_ratio(1, 0), "x llama.cpp RPC");
    Ok(speed.with_goal(CHAIN_GOAL))
}

const PREFIX: &str = "bench-vs-llamacpp";

/// Two servers, each with half of the blocks.
fn our_servers(stack: Stack, format: Format, model: &Path) -> Result<Vec<BlockServer>> {
    let mut servers: Vec<BlockServer> = Vec::with_capacity(SERVERS);
    for index in 0..SERVERS {
        let holding = Holding {
            model,
            prefix: PREFIX,
            blocks: index * stack.blocks / SERVERS..(index + 1) * stack.blocks / SERVERS,
            format,
        };
        let initial_peer = servers.first().map(|server| server.address.clone());
        servers.push(BlockServer::start(&holding, initial_peer.as_deref())?);
    }
    Ok(servers)
}
