//! `block-server plan`: what a server with the same flags would hold, without loading or announcing anything.

use std::io::IsTerminal;

use block_model::{ModelConfig, ModelSource};
use block_program::{Failure, Member, on_blocking_thread};

use super::report::PlanReport;
use super::{Draft, Memory, Plan};
use crate::cli::Blocks;
use crate::config::{Config, SwarmChoice};
use crate::model_files;
use crate::servers::Servers;

/// Reads what the model says of itself, asks the swarm if one is named, and returns the text for stdout: a table, or
/// JSON.
///
/// # Errors
/// No such model, blocks that it has not, or not enough memory for what was asked; nobody of the swarm answers.
pub async fn plan(config: Config, as_json: bool) -> Result<String, Failure> {
    let opened = config.clone();
    let progress_bar = std::io::stderr().is_terminal();
    let (source, draft) = on_blocking_thread(move || {
        let source = model_files::open(&opened, progress_bar)?;
        let draft = model_files::draft(&opened, &source)?;
        Ok((source, draft))
    })
    .await?;
    let (plan, reason) = choose(&config, &draft).await?;
    let report = on_blocking_thread(move || report(&config, &source, &plan, reason)).await?;
    if as_json {
        report.json()
    } else {
        Ok(report.table())
    }
}

/// Where the blocks would begin, and why.
async fn choose(config: &Config, draft: &Draft) -> Result<(Plan, String), Failure> {
    let asked = &config.model.blocks;
    if let Some(plan) = draft.fixed() {
        let reason = match asked {
            Blocks::Range(_) | Blocks::All => "as asked for",
            Blocks::Auto | Blocks::Count(_) => "the whole model",
        };
        return Ok((plan.clone(), reason.to_owned()));
    }
    let how_many = match asked {
        Blocks::Auto => "as many as fit, ",
        Blocks::Count(_) | Blocks::Range(_) | Blocks::All => "",
    };
    if matches!(config.swarm, SwarmChoice::New) {
        let reason = format!("{how_many}at the beginning of a new swarm");
        return Ok((draft.placed(&[]), reason));
    }
    let servers = visit(config, draft).await?;
    let others = servers.holdings();
    let plural = if others.len() == 1 { "" } else { "s" };
    let reason = format!(
        "{how_many}where the swarm needs them, beside {} server{plural}",
        others.len()
    );
    Ok((draft.placed(&others), reason))
}

/// The servers of the swarm that the flags name, as a passer-by sees them.
///
/// # Errors
/// Nobody answered, or the swarm cannot be asked (exit 69).
pub(crate) async fn visit(config: &Config, draft: &Draft) -> Result<Servers, Failure> {
    let member = Member::join(config.visitor()).await?;
    let (prefix, num_blocks) = draft.keys();
    let servers = Servers::look_up(&member.dht, prefix, num_blocks).await;
    member.leave().await;
    servers.map_err(|error| Servers::failure(&error))
}

fn report(
    config: &Config,
    source: &ModelSource,
    plan: &Plan,
    reason: String,
) -> Result<PlanReport, Failure> {
    let files = source.span_files(plan.blocks.clone());
    let files = files.map_err(|error| model_files::failure(&error, &config.model.name))?;
    let model: &ModelConfig = source.config();
    let used = [plan.weight_bytes(), plan.cache_bytes(), plan.reserve_bytes];
    Ok(PlanReport {
        model: config.model.name.clone(),
        commit: source.commit().map(ToOwned::to_owned),
        family: model.family.model_type().to_owned(),
        dht_prefix: plan.prefix.clone(),
        num_blocks: plan.num_blocks,
        hidden: model.hidden,
        dtype: plan.dtype.name().to_owned(),
        quant: plan.quant.name().to_owned(),
        kv_dtype: plan.kv_dtype.name().to_owned(),
        blocks: plan.blocks.len(),
        range: format!("{}:{}", plan.blocks.start, plan.blocks.end),
        reason,
        bytes_per_block: plan
            .weight_bytes()
            .div_ceil((plan.blocks.len() as u64).max(1)),
        bytes_per_1k_tokens: plan
            .kv_token_bytes
            .saturating_mul(TOKENS_IN_1K)
            .saturating_mul(plan.blocks.len() as u64),
        download_bytes: files.download_bytes,
        weight_bytes: plan.weight_bytes(),
        cache_bytes: plan.cache_bytes(),
        attn_cache_tokens: plan.attn_cache_tokens,
        reserve_bytes: plan.reserve_bytes,
        memory_bytes: used.into_iter().fold(0, u64::saturating_add),
        memory_available_bytes: Memory::of(config).most(),
    })
}

/// Sixteen pages of the cache.
const TOKENS_IN_1K: u64 = 1024;
