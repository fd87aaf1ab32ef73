//! The life of a server: from a configuration to READY, and out again.
//!
//! | stage    | what happens                                         | stopped in it    |
//! |----------|------------------------------------------------------|------------------|
//! | prepare  | find the model, plan blocks and memory               | nothing to undo  |
//! | join     | listen, join the DHT, announce JOINING               | announce OFFLINE |
//! | load     | load the blocks, measure, start the block service    | announce OFFLINE |
//! | online   | announce ONLINE, print READY, serve                  | drain            |
//! | draining | announce OFFLINE, finish running steps, leave        | waits, bounded   |

mod measuring;
mod serving;

use std::sync::Arc;
use std::time::Duration;

use block_model::ModelSource;
use block_network::Keypair;
use block_program::{Exit, Exporter, Failure, IdentityLock, Member, StartLook, identity_lock};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::admin;
use crate::announce::{Announcer, AnnouncerConfig};
use crate::cli::Throughput;
use crate::config::Config;
use crate::metrics::State;
use crate::neighbours::Pinger;
use crate::plan::Plan;
use crate::startup::{AdminLine, ModelLine, PlanLine, ProgramLine, StartLines};
use crate::status_board::{Latch, StatusBoard};
use crate::{memory, metrics, model_files};

/// Serves until `shutdown` is cancelled; `on_ready` gets the address to join through, with
/// `/p2p/`, once the swarm knows this server as ONLINE.
///
/// # Errors
/// What the operator must act on, with its exit code. After an error nothing is left running.
pub async fn run(
    config: Config,
    look: StartLook,
    shutdown: CancellationToken,
    on_ready: impl FnOnce(&str),
) -> Result<(), Failure> {
    let lines = StartLines::new(look);
    let _lock = IdentityLock::take(&config.identity)?;
    let keypair = identity_lock::load_or_create(&config.identity)?;
    let board = Arc::new(StatusBoard::default());
    let admin_port = admin::start(
        &config.admin,
        Exporter::of_process("block-server", &[metrics::TABLE])?,
        Arc::clone(&board),
    )
    .await?;
    lines.tell(&ProgramLine {
        peer_id: &keypair.public().to_peer_id().to_string(),
    });
    if let Some(port) = &admin_port {
        lines.tell(&AdminLine {
            address: port.address,
        });
    }
    let server = Server {
        config: &config,
        lines,
        board: &board,
        shutdown: &shutdown,
    };
    let result = server.live(keypair, on_ready).await;
    board.set_state(State::Offline);
    if let Some(port) = admin_port {
        port.stop().await;
    }
    result
}

/// What every stage needs.
struct Server<'a> {
    config: &'a Config,
    lines: StartLines,
    board: &'a Arc<StatusBoard>,
    shutdown: &'a CancellationToken,
}

/// A model that was found, and what of it will be held.
struct Prepared {
    source: ModelSource,
    plan: Plan,
}

impl Server<'_> {
    async fn live(&self, keypair: Keypair, on_ready: impl FnOnce(&str)) -> Result<(), Failure> {
        let Some(prepared) = self.unless_stopped(self.prepare()).await? else {
            return Ok(());
        };
        if self.config.dry_run {
            return Ok(());
        }
        if self.config.throughput == Throughput::DryRun {
            return self
                .unless_stopped(self.load_and_measure(prepared))
                .await
                .map(drop);
        }
        let Some(swarm) = self
            .unless_stopped(Member::join(self.config.member(keypair)))
            .await?
        else {
            return Ok(());
        };
        self.board.latch(Latch::SwarmJoined);
        let result = self.serve(&swarm, prepared, on_ready).await;
        swarm.leave().await;
        result
    }

    /// Runs a stage that leaves nothing behind when it is dropped.
    async fn unless_stopped<T>(
        &self,
        stage: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Option<T>, Failure> {
        tokio::select! {
            result = stage => result.map(Some),
            () = self.shutdown.cancelled() => Ok(None),
        }
    }

    /// Finds the model and plans what to hold.
    async fn prepare(&self) -> Result<Prepared, Failure> {
        let config = self.config.clone();
        let progress_bar = self.lines.is_terminal();
        let source = on_blocking_thread(move || model_files::open(&config, progress_bar)).await?;
        let plan = Plan::new(self.config, source.config())?;
        self.lines.tell(&ModelLine {
            name: &self.config.model.name,
            commit: source.commit(),
            dtype: plan.dtype.name(),
            num_blocks: plan.num_blocks,
            prefix: &plan.prefix,
            prefix_is_derived: plan.prefix_is_derived,
        });
        self.lines.tell(&PlanLine {
            blocks: &plan.blocks,
            weight_bytes: plan.weight_bytes,
            cache_bytes: plan.cache_bytes,
            cache_tokens: plan.attn_cache_tokens,
        });
        if let Some(available) = memory::available_bytes() {
            plan.check_memory(available)?;
        }
        Ok(Prepared { source, plan })
    }

    /// Everything between joining and leaving; announces OFFLINE whatever happens.
    async fn serve(
        &self,
        swarm: &Member,
        prepared: Prepared,
        on_ready: impl FnOnce(&str),
    ) -> Result<(), Failure> {
        let plan = &prepared.plan;
        let (pinger, next_pings) = Pinger::start(
            swarm.node.clone(),
            swarm.dht.clone(),
            (plan.prefix.clone(), plan.num_blocks, plan.blocks.clone()),
            self.config.update_period,
        );
        let announcer = Announcer::start(
            swarm.dht.clone(),
            AnnouncerConfig {
                period: self.config.update_period,
                expiration: self.config.expiration,
                next_pings,
            },
        );
        let mut service = None;
        let result = self
            .join_and_serve(swarm, prepared, &announcer, &mut service, on_ready)
            .await;
        self.board.set_state(State::Draining);
        // Clients stop coming before the running steps are waited for.
        let goodbye = announcer.goodbye();
        if tokio::time::timeout(GOODBYE_DEADLINE, goodbye)
            .await
            .is_err()
        {
            warn!("OFFLINE could not be announced in time");
        }
        if let Some(service) = service {
            service.drain(self.config.limits.drain_timeout).await;
            if let Some(service) = Arc::into_inner(service) {
                service.stop().await;
            }
        }
        drop(pinger);
        result
    }
}

/// Runs what waits for files or computes, away from the network's threads.
async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(Failure::new(Exit::Software, "a thread failed").caused_by(&error))
        })
}

/// Longest wait for the last announcement; a lookup through dead peers takes about three call timeouts.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(10);
