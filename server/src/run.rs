//! The life of a server: from a configuration to READY, and out again.
//!
//! | stage    | what happens                                         | stopped in it    |
//! |----------|------------------------------------------------------|------------------|
//! | prepare  | find the model, plan how many blocks, and memory     | nothing to undo  |
//! | join     | listen, join the DHT, choose blocks                  | leave            |
//! | load     | announce JOINING, load, measure, start the service   | announce OFFLINE |
//! | online   | announce ONLINE, print READY, serve                  | drain            |
//! | draining | announce OFFLINE, finish running steps               | waits, bounded   |
//!
//! A server whose place is not fixed may be of more use elsewhere; then it drains, and goes on with `load`.

mod measuring;
mod placing;
mod serving;

use std::sync::Arc;
use std::time::Duration;

use block_model::ModelSource;
use block_network::Keypair;
use block_program::peers_file::PeersFile;
use block_program::{
    Exporter, Failure, IdentityLock, Member, StartLook, identity_lock, on_blocking_thread,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::announce::{Announcer, AnnouncerConfig};
use crate::cli::Throughput;
use crate::config::Config;
use crate::metrics::State;
use crate::model_files;
use crate::neighbours::Pinger;
use crate::plan::{Draft, Plan};
use crate::startup::{AdminLine, ModelLine, ProgramLine, StartLines};
use crate::status_board::{Latch, StatusBoard};
use crate::{admin, metrics};

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
    if config.initial_peers_file.is_some() {
        PeersFile::survive_hangups()?;
    }
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

/// A model that was found, and how much of it will be held.
struct Prepared {
    source: Arc<ModelSource>,
    draft: Draft,
}

/// How one stay at some blocks ended.
enum Ending {
    /// The operator stopped the server.
    Stopped,
    /// Blocks from here on need it more.
    Moves(usize),
}

impl Server<'_> {
    async fn live(&self, keypair: Keypair, on_ready: impl FnOnce(&str)) -> Result<(), Failure> {
        let Some(prepared) = self.unless_stopped(self.prepare()).await? else {
            return Ok(());
        };
        if self.config.dry_run {
            return self
                .unless_stopped(self.tell_place(&prepared))
                .await
                .map(drop);
        }
        if self.config.throughput == Throughput::DryRun {
            // Any blocks of the model are as fast as others.
            let plan = prepared.draft.placed(&[]);
            return self
                .unless_stopped(self.load_and_measure(&prepared.source, plan))
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
        // The server's own end is the other branch's: it says farewell.
        let never = CancellationToken::new();
        let result = tokio::select! {
            result = self.stay(&swarm, &prepared, on_ready) => result,
            Err(failure) = swarm.until_stopped(self.config.initial_peers_file.as_ref(), &never) => Err(failure),
        };
        swarm.leave().await;
        result
    }

    /// Everything between joining and leaving: at some blocks, then perhaps at others.
    async fn stay(
        &self,
        swarm: &Member,
        prepared: &Prepared,
        on_ready: impl FnOnce(&str),
    ) -> Result<(), Failure> {
        let placing = self.place(swarm, prepared);
        let Some(mut plan) = self.unless_stopped(placing).await? else {
            return Ok(());
        };
        let mut on_ready = Some(on_ready);
        while let Ending::Moves(start) = self.serve(swarm, prepared, plan, &mut on_ready).await? {
            plan = prepared.draft.begun_at(start);
        }
        Ok(())
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
        let (source, draft) = on_blocking_thread(move || {
            let source = model_files::open(&config, progress_bar)?;
            let draft = model_files::draft(&config, &source)?;
            Ok((source, draft))
        })
        .await?;
        let sketch = draft.placed(&[]);
        self.lines.tell(&ModelLine {
            name: &self.config.model.name,
            commit: source.commit(),
            dtype: sketch.dtype.name(),
            num_blocks: sketch.num_blocks,
            prefix: &sketch.prefix,
            prefix_is_derived: sketch.prefix_is_derived,
        });
        Ok(Prepared {
            source: Arc::new(source),
            draft,
        })
    }

    /// One stay at some blocks; announces OFFLINE whatever happens. The first one that is online takes `on_ready`.
    async fn serve<F: FnOnce(&str)>(
        &self,
        swarm: &Member,
        prepared: &Prepared,
        plan: Plan,
        on_ready: &mut Option<F>,
    ) -> Result<Ending, Failure> {
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
            .join_and_serve(swarm, (prepared, plan), &announcer, &mut service, on_ready)
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

/// Longest wait for the last announcement; a lookup through dead peers takes about three call timeouts.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(10);
