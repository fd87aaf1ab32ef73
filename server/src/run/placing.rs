//! Where in the model this server goes: once at the start, and again while it runs.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use block_program::{Failure, Member, on_blocking_thread};
use rand::seq::SliceRandom;
use tracing::{info, warn};

use super::{Prepared, Server};
use crate::block_choice::{Holding, better_start};
use crate::config::Balance;
use crate::model_files;
use crate::plan::{Plan, command};
use crate::servers::Servers;
use crate::startup::PlanLine;

impl Server<'_> {
    /// The plan as it would be now, told and nothing else.
    pub(super) async fn tell_place(&self, prepared: &Prepared) -> Result<(), Failure> {
        let draft = &prepared.draft;
        let others = if draft.is_open() && self.config.swarm.may_have_others() {
            command::visit(self.config, draft).await?
        } else {
            Servers::default()
        };
        self.tell_plan(prepared, draft.placed(&others.holdings()))
            .await
            .map(drop)
    }

    /// The plan beside the servers that are there; waits a little if its place is open, so that servers which a script
    /// starts at the same moment see each other.
    pub(super) async fn place(&self, swarm: &Member, prepared: &Prepared) -> Result<Plan, Failure> {
        let draft = &prepared.draft;
        let plan = if draft.is_open() {
            if self.config.swarm.may_have_others() {
                random_wait(MEAN_CHOICE_DELAY).await;
            }
            let own = swarm.node.peer_id().to_string();
            let (prefix, num_blocks) = draft.keys();
            let servers = Servers::look_up(&swarm.dht, prefix, num_blocks).await;
            let servers = servers.map_err(|error| Servers::failure(&error))?;
            draft.placed(&servers.holdings_except(&own))
        } else {
            draft.placed(&[])
        };
        self.tell_plan(prepared, plan).await
    }

    async fn tell_plan(&self, prepared: &Prepared, plan: Plan) -> Result<Plan, Failure> {
        let (source, blocks) = (Arc::clone(&prepared.source), plan.blocks.clone());
        let name = self.config.model.name.clone();
        let files = on_blocking_thread(move || {
            let files = source.span_files(blocks);
            files.map_err(|error| model_files::failure(&error, &name))
        });
        let files = files.await?;
        self.lines.tell(&PlanLine {
            blocks: &plan.blocks,
            weight_bytes: plan.weight_bytes(),
            cache_bytes: plan.cache_bytes(),
            cache_tokens: plan.attn_cache_tokens,
            download_bytes: files.download_bytes,
        });
        Ok(plan)
    }

    /// Waits until other blocks need this server more than its own, and their files are here; their first one. For
    /// ever if the operator has fixed its place. Dropping it loses nothing.
    pub(super) async fn until_needed_elsewhere(
        &self,
        swarm: &Member,
        prepared: &Prepared,
        plan: &Plan,
        throughput: f64,
    ) -> usize {
        let Balance {
            quality,
            mean_check_period,
        } = self.config.balance;
        if !prepared.draft.is_open() || quality == 0.0 {
            return pending().await;
        }
        let look = || self.better_place(swarm, plan, throughput, quality);
        loop {
            random_wait(mean_check_period).await;
            let Some(start) = look().await else {
                continue;
            };
            // The fetch comes first, so that the blocks are missed for no longer than loading takes.
            let (source, blocks) = (
                Arc::clone(&prepared.source),
                prepared.draft.begun_at(start).blocks,
            );
            let fetched = on_blocking_thread(move || model_files::fetch(&source, blocks)).await;
            if let Err(failure) = fetched {
                warn!(
                    failure = failure.in_one_line(),
                    "other blocks would need this server, but cannot be fetched"
                );
                continue;
            }
            // Every server of the same blocks may have come to the same conclusion: the first to move settles it.
            random_wait(MEAN_CHOICE_DELAY).await;
            if look().await == Some(start) {
                info!(
                    from = plan.blocks.start,
                    to = start,
                    "other blocks need this server more, it moves"
                );
                return start;
            }
        }
    }

    /// Where the swarm as it is now would want these blocks to begin, if not where they do.
    async fn better_place(
        &self,
        swarm: &Member,
        plan: &Plan,
        throughput: f64,
        quality: f64,
    ) -> Option<usize> {
        let servers = Servers::look_up(&swarm.dht, &plan.prefix, plan.num_blocks).await;
        let servers = servers
            .inspect_err(|error| warn!(%error, "the swarm cannot be asked what it needs"))
            .ok()?;
        let mine = Holding {
            blocks: plan.blocks.clone(),
            throughput,
        };
        let (holdings, own) = servers.holdings_with(&swarm.node.peer_id().to_string(), mine);
        let num_blocks = plan.num_blocks;
        // A crowded swarm takes a moment to think through.
        let thought = on_blocking_thread(move || {
            let shuffle = &mut |order: &mut [usize]| order.shuffle(&mut rand::rng());
            Ok(better_start(&holdings, own, num_blocks, quality, shuffle))
        });
        let start = thought.await.ok()??;
        (start != plan.blocks.start).then_some(start)
    }
}

/// Between nothing and twice the mean.
async fn random_wait(mean: Duration) {
    tokio::time::sleep(mean.mul_f64(2.0 * rand::random::<f64>())).await;
}

/// Petals' figure.
const MEAN_CHOICE_DELAY: Duration = Duration::from_secs(5);
