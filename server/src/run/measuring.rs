//! The throughput of this server: given, kept or measured.

use block_model::{CpuSpan, ModelSource};
use block_program::{Exit, Failure, on_blocking_thread};

use super::Server;
use crate::cli::Throughput;
use crate::metrics::{self, AnnouncedRate};
use crate::plan::Plan;
use crate::startup::MeasureLine;
use crate::throughput::{self, Announced};

impl Server<'_> {
    /// What JOINING announces: the known figure, else the network's, which is its upper bound.
    pub(super) fn expected_throughput(&self, source: &ModelSource, plan: &Plan) -> Announced {
        if let Throughput::Fixed(throughput) = self.config.throughput {
            return Announced::fixed(throughput);
        }
        let hidden = source.config().hidden;
        let key = throughput::key(source.config(), plan);
        let (blocks, mbps) = (plan.blocks.len(), self.config.network_mbps);
        match throughput::read_kept(&self.config.throughput_file, &key) {
            Some(speed) => Announced::from_speed(speed, blocks, hidden, mbps),
            None => Announced::fixed(throughput::network_rate(hidden, mbps)),
        }
    }

    /// The figure to announce: given, kept or measured now. Hands the span back.
    pub(super) async fn measure(
        &self,
        mut span: CpuSpan,
        plan: &Plan,
        hidden: usize,
        key: String,
    ) -> Result<(CpuSpan, Announced), Failure> {
        let config = self.config;
        let kept = match config.throughput {
            Throughput::Fixed(throughput) => {
                let announced = Announced::fixed(throughput);
                self.tell_measure(&announced, "given");
                return Ok((span, announced));
            }
            Throughput::Auto => throughput::read_kept(&config.throughput_file, &key),
            Throughput::Eval | Throughput::DryRun => None,
        };
        let (speed, origin) = if let Some(speed) = kept {
            (speed, "measured earlier")
        } else {
            let longest = plan.inference_max_length.min(plan.max_batch_tokens);
            let file = config.throughput_file.clone();
            let speed;
            (span, speed) = on_blocking_thread(move || {
                let speed = throughput::measure(&mut span, longest).map_err(|error| {
                    Failure::new(Exit::Software, "the blocks cannot be measured")
                        .caused_by(&error)
                        .hint("--throughput N announces a number of your own")
                })?;
                if let Err(error) = throughput::keep(&file, &key, speed) {
                    tracing::warn!(%error, file = %file.display(), "the measured throughput cannot be kept");
                }
                Ok((span, speed))
            })
            .await?;
            (speed, "measured now")
        };
        let announced =
            Announced::from_speed(speed, plan.blocks.len(), hidden, config.network_mbps);
        self.tell_measure(&announced, origin);
        Ok((span, announced))
    }

    fn tell_measure(&self, announced: &Announced, origin: &str) {
        for (rate, figure) in [
            (AnnouncedRate::Throughput, Some(announced.throughput)),
            (
                AnnouncedRate::Forward,
                announced.speed.map(|speed| speed.forward),
            ),
            (
                AnnouncedRate::Inference,
                announced.speed.map(|speed| speed.inference),
            ),
            (AnnouncedRate::Network, announced.network),
        ] {
            if let Some(figure) = figure {
                metrics::record_announced(rate, figure);
            }
        }
        self.lines.tell(&MeasureLine {
            forward: announced.speed.map(|speed| speed.forward),
            inference: announced.speed.map(|speed| speed.inference),
            network_mbps: self.config.network_mbps,
            announced: announced.throughput,
            origin,
        });
    }
}
