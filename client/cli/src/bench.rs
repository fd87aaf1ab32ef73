//! `swarm bench`: how fast answers come, from the swarm or from any OpenAI API.
//!
//! - `sample`: one answer as its reader saw it; `openai`: how it is asked for over HTTP
//! - `distribution`, `host`, `report`: what is told of all of them

mod distribution;
mod host;
mod openai;
mod report;
mod sample;

use std::time::Instant;

use block_client::{GenerateConfig, Session};
use block_program::{Exit, Failure};
use futures::StreamExt;

use crate::cli::{BenchFlags, WayFlags};
use crate::ending::Ending;
use crate::http_client::HttpClient;
use crate::membership;
use crate::model_session::Ready;
use crate::output;
use crate::progress::Waiting;
use crate::session_failure::session_failure;

use openai::Api;
use report::Report;
use sample::{Clock, Sample};

/// Measures, and prints what was measured.
///
/// # Errors
/// No request was answered (exit 69), or none could be sent.
pub(crate) async fn run(flags: BenchFlags) -> Result<(), Ending> {
    let target = Target::of(&flags).await?;
    let waiting = Waiting::new("measuring");
    let started = Instant::now();
    let requests = futures::stream::iter(0..flags.requests).map(|number| target.ask(number));
    let answers = requests.buffer_unordered(flags.concurrency as usize);
    let answers: Vec<_> = answers.collect().await;
    let report = Report::new(&flags, answers, started.elapsed());
    drop(waiting);
    target.leave().await;
    if let Some(reasons) = report.all_failed() {
        let failure = Failure::new(Exit::Unavailable, "no request was answered");
        let failure = reasons.iter().fold(failure, Failure::cause);
        return Err(failure.hint("try it with --requests 1").into());
    }
    if flags.json {
        output::json(&report)
    } else {
        output::text(&report.in_words())
    }
}

/// Whom to ask.
enum Target {
    Swarm(Box<InSwarm>),
    Api(Api),
}

struct InSwarm {
    ready: Ready,
    way: WayFlags,
    prompt_tokens: usize,
    max_tokens: usize,
}

impl Target {
    async fn of(flags: &BenchFlags) -> Result<Self, Failure> {
        if let Some(url) = &flags.url {
            return Ok(Self::Api(Api {
                client: HttpClient::at(url, flags.api_key.clone())?,
                model: flags.model.model.clone(),
                is_chat: flags.chat,
                prompt: words(flags.prompt_tokens),
                max_tokens: flags.max_tokens,
            }));
        }
        let peers = membership::initial_peers(&flags.swarm)?;
        Ok(Self::Swarm(Box::new(InSwarm {
            ready: Ready::prepare(&flags.model, &flags.swarm, peers).await?,
            way: flags.way.clone(),
            prompt_tokens: flags.prompt_tokens,
            max_tokens: flags.max_tokens,
        })))
    }

    /// One request; the error is one line.
    async fn ask(&self, number: u32) -> Result<Sample, String> {
        match self {
            Self::Swarm(swarm) => {
                let answer = swarm.ask(number).await;
                answer.map_err(|failure| failure.in_one_line())
            }
            Self::Api(api) => api.ask().await.map_err(|error| error.to_string()),
        }
    }

    async fn leave(self) {
        if let Self::Swarm(swarm) = self {
            swarm.ready.swarm.shutdown().await;
        }
    }
}

impl InSwarm {
    async fn ask(&self, number: u32) -> Result<Sample, Failure> {
        let max_length = self.prompt_tokens.saturating_add(self.max_tokens);
        let clock = Clock::start();
        let mut session = self.ready.open(&self.way, max_length).await?;
        let measured = self.answer(&mut session, number, clock).await;
        session.close().await;
        measured
    }

    async fn answer(
        &self,
        session: &mut Session,
        number: u32,
        mut clock: Clock,
    ) -> Result<Sample, Failure> {
        let config = GenerateConfig {
            // All answers are of one length, whatever the prompt makes the model say.
            ignore_eos: true,
            ..GenerateConfig::new(self.max_tokens)
        };
        let prompt = ids(number, self.prompt_tokens, self.ready.local.config.vocab);
        let failed = |error| session_failure(&error, &self.ready.map);
        let mut generation = session.generate(prompt, config).map_err(failed)?;
        while let Some(token) = generation.next().await {
            token.map_err(failed)?;
            clock.piece();
        }
        let tokens = generation.finish().ids.len();
        clock.counted(self.prompt_tokens as u64, tokens as u64);
        Ok(clock.end())
    }
}

/// Tokens of a prompt, other ones for each request: spread over the vocabulary by a multiplication that repeats late.
fn ids(number: u32, count: usize, vocab: usize) -> Vec<u32> {
    let vocab = u64::try_from(vocab.max(1)).unwrap_or(u64::MAX);
    (0..count as u64)
        .map(|at| (u64::from(number) * 7919 + at).wrapping_mul(2_654_435_761) % vocab)
        .map(|id| u32::try_from(id).unwrap_or_default())
        .collect()
}

/// A text of so many common words.
fn words(count: usize) -> String {
    let words = [
        "the", "cat", "and", "dog", "went", "to", "see", "a", "big", "tree",
    ];
    let words: Vec<&str> = words.iter().copied().cycle().take(count).collect();
    words.join(" ")
}
