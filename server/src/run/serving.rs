//! From JOINING to ONLINE: load, measure, start the service, announce, tell.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use block_model::{BlockSpan, CpuSpan, Level, ModelSource, Quant, SpanDType};
use block_program::version::PETALS_VERSION;
use block_program::{Exit, Failure, Member, multiaddrs, on_blocking_thread};
use block_protocol::{Compression, ServerInfo, ServerState, Span};
use indicatif::ProgressBar;
use tracing::info;

use super::{Ending, Prepared, Server};
use crate::announce::{Announcement, Announcer, IMPLEMENTATION, ReadCache};
use crate::config::SwarmChoice;
use crate::metrics::{self, ServerFacts, State};
use crate::model_files;
use crate::plan::Plan;
use crate::reachability;
use crate::servers::Servers;
use crate::service::{Service, ServiceConfig};
use crate::startup::{DeviceLine, LoadLine, NextSteps, OnlineLine};
use crate::status_board::{Latch, LiveFigures};
use crate::throughput::{self, Announced};

impl Server<'_> {
    /// Announces JOINING, loads, serves until stopped or needed elsewhere. `service` outlives an error, so that
    /// its sessions can be drained.
    pub(super) async fn join_and_serve<F: FnOnce(&str)>(
        &self,
        swarm: &Member,
        (prepared, plan): (&Prepared, Plan),
        announcer: &Announcer,
        service: &mut Option<Arc<Service>>,
        on_ready: &mut Option<F>,
    ) -> Result<Ending, Failure> {
        let source = &prepared.source;
        let whole_cache = 2 * plan.attn_cache_tokens as u64 * plan.blocks.len() as u64;
        let whole_cache: ReadCache = Arc::new(move || whole_cache);
        let expected = self.expected_throughput(source, &plan);
        let joining = Arc::new(self.announcement(swarm, &plan, &expected)?);
        let addresses = swarm.addresses().await;
        self.publish_facts(swarm, &plan, &addresses);
        self.board.begin_joining();
        announcer
            .announce(&joining, ServerState::Joining, &whole_cache)
            .await;

        let loading = self.load_and_measure(source, plan);
        let Some((span, plan, announced)) = self.unless_stopped(loading).await? else {
            return Ok(Ending::Stopped);
        };
        let plan = &plan;
        let running = Arc::new(self.start_service(swarm, plan, span)?);
        let read_cache = self.watch(&running);
        *service = Some(Arc::clone(&running));
        self.board.latch(Latch::ModelLoaded);
        self.board
            .update(|report| report.throughput = announced.throughput);
        let _question = reachability::ask(
            &swarm.node,
            &swarm.dht,
            self.config.check_reachability,
            self.lines,
        );

        let online = Arc::new(self.announcement(swarm, plan, &announced)?);
        self.board.set_state(State::Online);
        while !announcer
            .announce(&online, ServerState::Online, &read_cache)
            .await
        {
            let again = tokio::time::sleep(ANNOUNCE_RETRY_PERIOD);
            tokio::select! {
                () = again => {}
                () = self.shutdown.cancelled() => return Ok(Ending::Stopped),
            }
        }
        self.board.latch(Latch::Announced);
        let gap = self.tell_online(swarm, plan).await;
        if let Some(on_ready) = on_ready.take() {
            self.tell_next_steps(plan, gap, &addresses);
            if let Some(address) = addresses.first() {
                on_ready(&address.to_string());
            }
        }
        tokio::select! {
            result = self.until_stopped(&running) => result.map(|()| Ending::Stopped),
            start = self.until_needed_elsewhere(swarm, prepared, plan, announced.throughput) => Ok(Ending::Moves(start)),
        }
    }

    /// Waits for the end; a dead compute thread is one.
    async fn until_stopped(&self, service: &Service) -> Result<(), Failure> {
        let mut checks = tokio::time::interval(HEALTH_PERIOD);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                _ = checks.tick() => if !service.healthy() {
                    return Err(Failure::new(Exit::Software, "the compute thread ended")
                        .hint("the log above says why; start the server again"));
                }
            }
        }
    }

    /// Tells everybody who looks what is served: admin port, metrics.
    fn publish_facts(&self, swarm: &Member, plan: &Plan, addresses: &[block_network::Multiaddr]) {
        let peer_id = swarm.node.peer_id().to_string();
        self.board.update(|report| {
            report.peer_id.clone_from(&peer_id);
            report.addresses = addresses.iter().map(ToString::to_string).collect();
            report.start_block = plan.blocks.start;
            report.end_block = plan.blocks.end;
            report.num_blocks = plan.num_blocks;
            report.dtype = plan.dtype.name().to_owned();
            report.quant_type = plan.quant.name().to_owned();
            report.kv_dtype = plan.kv_dtype.name().to_owned();
            report.threads = plan.threads;
            report.codecs = Compression::names_for(plan.schema_dtype());
            report.model.clone_from(&self.config.model.name);
            report.dht_prefix.clone_from(&plan.prefix);
        });
        let facts = ServerFacts {
            model: self.config.model.name.clone(),
            dht_prefix: plan.prefix.clone(),
            peer_id,
            dtype: plan.dtype.name().to_owned(),
            quant_type: plan.quant.name().to_owned(),
            kv_dtype: plan.kv_dtype.name().to_owned(),
            device: "cpu".to_owned(),
        };
        metrics::record_server(facts, plan.blocks.start, plan.blocks.end);
    }

    /// Loads the blocks and finds the figure to announce.
    pub(super) async fn load_and_measure(
        &self,
        source: &Arc<ModelSource>,
        plan: Plan,
    ) -> Result<(CpuSpan, Plan, Announced), Failure> {
        let key = throughput::key(source.config(), &plan);
        let hidden = source.config().hidden;
        let span = self.load(Arc::clone(source), &plan).await?;
        let (span, announced) = self.measure(span, &plan, hidden, key).await?;
        Ok((span, plan, announced))
    }

    async fn load(&self, source: Arc<ModelSource>, plan: &Plan) -> Result<CpuSpan, Failure> {
        let bar = if self.lines.is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        bar.set_message(format!("load     {} blocks", plan.blocks.len()));
        bar.enable_steady_tick(SPINNER_PERIOD);
        let started = Instant::now();
        let (blocks, options) = (plan.blocks.clone(), plan.engine());
        let loaded = on_blocking_thread(move || model_files::load(&source, blocks, &options)).await;
        bar.finish_and_clear();
        let span = loaded?;
        let seconds = started.elapsed().as_secs_f64();
        let held = span.description();
        metrics::record_load(plan.blocks.len(), seconds, self.config.model.is_local);
        self.lines.tell(&DeviceLine {
            device: &held.device,
            kernels: held.kernels.map(Level::name),
            threads: span.threads(),
            weights: match held.quant {
                Quant::None => held.checkpoint_dtype.name(),
                quant => quant.name(),
            },
            kv_dtype: plan.kv_dtype.name(),
            boundary: held.dtype.name(),
        });
        self.lines.tell(&LoadLine {
            blocks: plan.blocks.len(),
            seconds,
            weight_bytes: held.weight_bytes,
        });
        Ok(span)
    }

    fn start_service(
        &self,
        swarm: &Member,
        plan: &Plan,
        span: CpuSpan,
    ) -> Result<Service, Failure> {
        let limits = &self.config.limits;
        let service_config = ServiceConfig {
            dht_prefix: plan.prefix.clone(),
            schema_dtype: plan.schema_dtype(),
            compression: self.config.compression,
            version: PETALS_VERSION.to_owned(),
            implementation: IMPLEMENTATION.to_owned(),
            quant_type: plan.quant.name().to_owned(),
            dht_client_mode: false,
            inference_max_length: plan.inference_max_length,
            max_batch_tokens: plan.max_batch_tokens,
            attn_cache_tokens: plan.attn_cache_tokens,
            max_sessions: limits.max_sessions,
            max_sessions_per_peer: limits.max_sessions_per_peer,
            max_alloc_timeout: limits.max_alloc_timeout,
            trusted_peers: self.config.trusted_peers.clone(),
            session_timeout: limits.session_timeout,
            step_timeout: limits.step_timeout,
            request_timeout: limits.request_timeout,
            block_delay: self.config.block_delay,
        };
        Service::start(swarm.node.clone(), Box::new(span), service_config).map_err(|error| {
            Failure::new(Exit::OsError, "the block service cannot start").caused_by(&error)
        })
    }

    /// Lets the admin port and the announcements read the service's figures without keeping it alive.
    fn watch(&self, service: &Arc<Service>) -> ReadCache {
        let for_board = Arc::downgrade(service);
        self.board
            .read_live_from(move || match for_board.upgrade() {
                Some(service) => LiveFigures {
                    sessions: service.sessions(),
                    cache_tokens_left: service.cache_tokens_left(),
                    is_healthy: service.healthy(),
                },
                // The service has ended in good order: nothing is open, nothing is wrong.
                None => LiveFigures {
                    sessions: 0,
                    cache_tokens_left: 0,
                    is_healthy: true,
                },
            });
        let for_record = Arc::downgrade(service);
        Arc::new(move || {
            for_record
                .upgrade()
                .map_or(0, |service| service.cache_tokens_left())
        })
    }

    fn announcement(
        &self,
        swarm: &Member,
        plan: &Plan,
        announced: &Announced,
    ) -> Result<Announcement, Failure> {
        let span = Span::new(plan.blocks.start, plan.blocks.end)
            .map_err(|error| Failure::usage("--blocks cannot be announced").caused_by(&error))?;
        let model = &self.config.model;
        Ok(Announcement {
            prefix: plan.prefix.clone(),
            num_blocks: plan.num_blocks,
            repository: (!model.is_local).then(|| format!("https://huggingface.co/{}", model.name)),
            peer_id: swarm.node.peer_id().to_string(),
            throughput: announced.throughput,
            info: ServerInfo {
                span: Some(span),
                public_name: self.config.public_name.clone(),
                version: Some(PETALS_VERSION.to_owned()),
                network_rps: announced.network,
                forward_rps: announced.speed.map(|speed| speed.forward),
                inference_rps: announced.speed.map(|speed| speed.inference),
                torch_dtype: Some(plan.dtype.name().to_owned()),
                quant_type: Some(plan.quant.name().to_owned()),
                using_relay: Some(false),
                codecs: Compression::names_for(plan.schema_dtype()),
                implementation: Some(IMPLEMENTATION.to_owned()),
                ..ServerInfo::default()
            },
        })
    }

    /// Returns the first blocks that still lack a server.
    async fn tell_online(&self, swarm: &Member, plan: &Plan) -> Option<Range<usize>> {
        let own = swarm.node.peer_id().to_string();
        let servers = Servers::read(&swarm.dht, &plan.prefix, plan.num_blocks).await;
        self.lines.tell(&OnlineLine {
            blocks: &plan.blocks,
            num_blocks: plan.num_blocks,
            prefix: &plan.prefix,
            others: servers.others(&own),
            covered: servers.covered(&own, &plan.blocks),
        });
        servers.first_gap(&own, &plan.blocks, plan.num_blocks)
    }

    fn tell_next_steps(
        &self,
        plan: &Plan,
        gap: Option<Range<usize>>,
        addresses: &[block_network::Multiaddr],
    ) {
        let Some(best) = addresses.first() else {
            info!("no address is known under which others could join");
            return;
        };
        self.lines.tell_next_steps(&NextSteps {
            model: &self.config.model.name,
            is_local: self.config.model.is_local,
            prefix: &plan.prefix,
            prefix_is_given: !plan.prefix_is_derived,
            dtype: self.config.model.dtype.map(SpanDType::name),
            gap,
            address: &best.to_string(),
            is_on_lan: self.config.swarm == SwarmChoice::Lan,
            is_loopback: multiaddrs::is_loopback(best),
        });
    }
}

/// Between two attempts to announce ONLINE to a swarm that keeps nothing.
const ANNOUNCE_RETRY_PERIOD: Duration = Duration::from_secs(5);
/// Between two looks at the compute thread.
const HEALTH_PERIOD: Duration = Duration::from_secs(2);
/// Between two pictures of the spinner.
const SPINNER_PERIOD: Duration = Duration::from_millis(100);
