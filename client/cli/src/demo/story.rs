//! The story: written once in silence, then streamed, with a server killed in the middle of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use block_client::{
    Chain, ChainConfig, ChainStats, Finished, GenerateConfig, LocalModel, ModelView, RouteStop,
    SamplingConfig, Session, SessionError, Swarm,
};
use block_network::PeerId;
use block_program::Failure;
use block_program::amounts::rate;

use super::fable::NUM_BLOCKS;
use super::server_process::ServerProcess;
use crate::cli::DemoFlags;
use crate::ending::Ending;
use crate::output;
use crate::progress::Waiting;
use crate::session_failure::session_failure;

/// Streams the story; kills a server of its route on the way unless that is not wanted.
///
/// # Errors
/// The session fails, or nobody reads the story.
pub(super) async fn tell(
    flags: &DemoFlags,
    swarm: &Swarm,
    view: ModelView,
    local: Arc<LocalModel>,
    servers: &mut [ServerProcess],
) -> Result<(), Ending> {
    let failed = |error| session_failure(&error, "swarm demo");
    let max_tokens = flags.max_tokens as usize;
    let prompt = local.tokenizer.encode(&flags.prompt).map_err(|error| {
        Failure::usage("--prompt cannot be turned into tokens").caused_by(&error)
    })?;
    let mut generate = GenerateConfig::new(max_tokens);
    generate.sampling = SAMPLING;
    let config = &local.config;
    let length = prompt.len() + max_tokens;
    let mut chain = ChainConfig::new(0..config.num_blocks, config.hidden, length);
    let open = async |chain: &ChainConfig| {
        let chain = Chain::open(view.clone(), swarm.node().clone(), chain.clone()).await;
        chain.map(|chain| Session::new(Arc::clone(&local), chain))
    };
    let undisturbed = {
        let _waiting = Waiting::new("writing the story once without any failure");
        let mut session = open(&chain).await.map_err(failed)?;
        let written = write(&mut session, prompt.clone(), generate.clone()).await;
        let route = session.stats().route;
        session.close().await;
        Written {
            ids: written.map_err(failed)?,
            route,
        }
    };
    // Over the same servers: where hidden states are rounded is part of the text.
    chain.pinned = Some(undisturbed.route.iter().map(|stop| stop.peer).collect());
    let mut session = open(&chain).await.map_err(failed)?;
    let before = session.stats().route;
    output::line(&format!("Route: {}", route_text(&before, servers)))?;
    output::line("")?;
    output::text(&flags.prompt)?;

    let victim = (!flags.no_kill).then(|| victim(&before, servers)).flatten();
    let mut killed = None;
    let mut generation = session.generate(prompt, generate).map_err(failed)?;
    let kill_at = (max_tokens / KILL_AFTER_PART).min(KILL_AFTER_TOKENS);
    while let Some(token) = generation.next().await {
        let token = token.map_err(failed)?;
        output::text(&token.text)?;
        // Between two words, so that the remark does not cut one.
        let is_due = token.index >= kill_at && token.text.ends_with([' ', '\n', '.', ','])
            || token.index >= kill_at + WORD_PATIENCE;
        if let (true, None, Some(victim)) = (is_due, killed, victim) {
            killed = Some(kill(servers, victim, &before).await?);
        }
    }
    let story = generation.finish();
    let stats = session.stats();
    session.close().await;
    output::line("\n")?;
    report(&story, &stats, servers, killed)?;
    if killed.is_some() && before == undisturbed.route {
        output::line(if story.ids == undisturbed.ids {
            "The same story was written before without any failure: the text is the same, token for token."
        } else {
            "The same story was written before without any failure, and the text is NOT the same: this is a bug."
        })?;
    }
    Ok(())
}

/// A story that nobody has seen yet.
struct Written {
    ids: Vec<u32>,
    route: Vec<RouteStop>,
}

async fn write(
    session: &mut Session,
    prompt: Vec<u32>,
    generate: GenerateConfig,
) -> Result<Vec<u32>, SessionError> {
    let mut generation = session.generate(prompt, generate)?;
    while let Some(token) = generation.next().await {
        token?;
    }
    Ok(generation.finish().ids)
}

/// The server that can be lost: on the route, and without it every block still has a server.
fn victim(route: &[RouteStop], servers: &[ServerProcess]) -> Option<PeerId> {
    let covers = |server: &ServerProcess, block: usize| {
        let (start, end) = server.part.blocks.split_once(':')?;
        Some((start.parse().ok()?..end.parse().ok()?).contains(&block))
    };
    let is_spare = |peer: PeerId| {
        (0..NUM_BLOCKS).all(|block| {
            servers
                .iter()
                .any(|server| server.peer != peer && covers(server, block) == Some(true))
        })
    };
    route
        .iter()
        .map(|stop| stop.peer)
        .find(|peer| is_spare(*peer))
}

/// Kills it as `kill -9` does, and says so.
async fn kill(
    servers: &mut [ServerProcess],
    victim: PeerId,
    route: &[RouteStop],
) -> Result<&'static str, Ending> {
    let Some(server) = servers.iter_mut().find(|server| server.peer == victim) else {
        return Ok("nobody");
    };
    server.kill().await;
    let blocks = route
        .iter()
        .find(|stop| stop.peer == victim)
        .map_or(0..0, |stop| stop.blocks.clone());
    output::text(&format!(
        "\n\n  >>> kill -9 {}: {} is gone, which ran blocks {}:{} of this story. The text goes on:\n\n",
        server.pid, server.part.name, blocks.start, blocks.end
    ))?;
    Ok(server.part.name)
}

fn report(
    story: &Finished,
    stats: &ChainStats,
    servers: &[ServerProcess],
    killed: Option<&str>,
) -> Result<(), Ending> {
    let speed = story.tokens_per_second().map_or_else(String::new, |speed| {
        format!(" at {} tokens per second", rate(speed))
    });
    output::line(&format!("{} tokens{speed}.", story.ids.len()))?;
    if let Some(name) = killed {
        output::line(&format!(
            "What happened: when {name} died, its blocks went to another server, which was sent what it had \
             missed ({} tokens); the longest wait for a token was {:.2} s. No token was lost or made twice.",
            stats.replayed_tokens,
            stats.max_stall.as_secs_f64()
        ))?;
        output::line(&format!("Route now: {}", route_text(&stats.route, servers)))?;
    }
    Ok(())
}

fn route_text(route: &[RouteStop], servers: &[ServerProcess]) -> String {
    let stops: Vec<String> = route
        .iter()
        .map(|stop| {
            let name = servers.iter().find(|server| server.peer == stop.peer);
            format!(
                "{} ({}:{})",
                name.map_or("?", |server| server.part.name),
                stop.blocks.start,
                stop.blocks.end
            )
        })
        .collect();
    stops.join(" → ")
}

/// What the model's makers recommend; the seed makes it the same story each time.
const SAMPLING: SamplingConfig = SamplingConfig {
    temperature: 0.7,
    top_k: 40,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    logit_bias: BTreeMap::new(),
    seed: Some(7),
};
/// The server is killed after this part of the longest story, and after this many tokens at the latest: a story has
/// hardly ever fewer than three times as many.
const KILL_AFTER_PART: usize = 4;
const KILL_AFTER_TOKENS: usize = 40;
/// Tokens to wait for the end of a word.
const WORD_PATIENCE: usize = 8;
