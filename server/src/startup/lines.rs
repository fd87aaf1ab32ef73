//! The single start lines: each as an aligned line for a person and as a log event.

use std::net::SocketAddr;
use std::ops::Range;

use block_program::amounts::{bytes, rate};
use tracing::info;

/// One thing that the operator is told while the server starts.
pub(crate) trait StartLine {
    /// The line on a terminal.
    fn pretty(&self) -> String;

    /// The log event in a pipe.
    fn log(&self);
}

/// Who we are.
pub(crate) struct ProgramLine<'a> {
    pub(crate) peer_id: &'a str,
}

impl StartLine for ProgramLine<'_> {
    fn pretty(&self) -> String {
        format!(
            "block-server {}  cpu   peer {}",
            env!("CARGO_PKG_VERSION"),
            self.peer_id
        )
    }

    fn log(&self) {
        let version = env!("CARGO_PKG_VERSION");
        info!(
            version,
            backend = "cpu",
            peer_id = self.peer_id,
            "block-server starts"
        );
    }
}

/// The admin port.
pub(crate) struct AdminLine {
    pub(crate) address: SocketAddr,
}

impl StartLine for AdminLine {
    fn pretty(&self) -> String {
        format!("admin    http://{}/metrics, /health, /status", self.address)
    }

    fn log(&self) {
        info!(address = %self.address, "admin port listens");
    }
}

/// What was found under the model's name.
pub(crate) struct ModelLine<'a> {
    pub(crate) name: &'a str,
    pub(crate) commit: Option<&'a str>,
    pub(crate) dtype: &'a str,
    pub(crate) num_blocks: usize,
    pub(crate) prefix: &'a str,
    pub(crate) prefix_is_derived: bool,
}

impl StartLine for ModelLine<'_> {
    fn pretty(&self) -> String {
        let commit = self
            .commit
            .map_or_else(String::new, |commit| format!(" @ {commit}"));
        let origin = if self.prefix_is_derived {
            " (from the model's name)"
        } else {
            ""
        };
        format!(
            "model    {}{commit}   {}   {}   prefix {}{origin}",
            self.name,
            self.dtype,
            blocks_text(self.num_blocks),
            self.prefix
        )
    }

    fn log(&self) {
        info!(
            model = self.name,
            commit = self.commit,
            dtype = self.dtype,
            num_blocks = self.num_blocks,
            dht_prefix = self.prefix,
            prefix_is_derived = self.prefix_is_derived,
            "model found"
        );
    }
}

/// What will be held.
pub(crate) struct PlanLine<'a> {
    pub(crate) blocks: &'a Range<usize>,
    pub(crate) weight_bytes: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) cache_tokens: usize,
    pub(crate) download_bytes: u64,
}

impl StartLine for PlanLine<'_> {
    fn pretty(&self) -> String {
        let download = match self.download_bytes {
            0 => String::new(),
            count => format!("   download {}", bytes(count)),
        };
        format!(
            "plan     blocks {}:{} ({})   weights {}   cache {} ({} tokens){download}",
            self.blocks.start,
            self.blocks.end,
            blocks_text(self.blocks.len()),
            bytes(self.weight_bytes),
            bytes(self.cache_bytes),
            self.cache_tokens
        )
    }

    fn log(&self) {
        info!(
            start_block = self.blocks.start,
            end_block = self.blocks.end,
            weight_bytes = self.weight_bytes,
            cache_bytes = self.cache_bytes,
            cache_tokens = self.cache_tokens,
            download_bytes = self.download_bytes,
            "plan made"
        );
    }
}

/// Where the arithmetic runs, and in which formats.
pub(crate) struct DeviceLine<'a> {
    pub(crate) device: &'a str,
    pub(crate) kernels: Option<&'a str>,
    pub(crate) threads: usize,
    pub(crate) weights: &'a str,
    pub(crate) kv_dtype: &'a str,
    pub(crate) boundary: &'a str,
}

impl StartLine for DeviceLine<'_> {
    fn pretty(&self) -> String {
        let Self {
            device,
            threads,
            weights,
            kv_dtype,
            boundary,
            ..
        } = self;
        let kernels = self
            .kernels
            .map_or_else(String::new, |kernels| format!(", {kernels} kernels"));
        let plural = if *threads == 1 { "" } else { "s" };
        format!(
            "device   {device}{kernels}, {threads} thread{plural}   weights {weights}, KV cache {kv_dtype}, \
             hidden states between blocks {boundary}"
        )
    }

    fn log(&self) {
        info!(
            device = self.device,
            kernels = self.kernels,
            threads = self.threads,
            weights = self.weights,
            kv_dtype = self.kv_dtype,
            hidden_states = self.boundary,
            "device chosen"
        );
    }
}

/// The blocks are in memory.
pub(crate) struct LoadLine {
    pub(crate) blocks: usize,
    pub(crate) seconds: f64,
    pub(crate) weight_bytes: u64,
}

impl StartLine for LoadLine {
    fn pretty(&self) -> String {
        format!(
            "load     {} in {:.1} s, {}",
            blocks_text(self.blocks),
            self.seconds,
            bytes(self.weight_bytes)
        )
    }

    fn log(&self) {
        info!(
            blocks = self.blocks,
            seconds = self.seconds,
            weight_bytes = self.weight_bytes,
            "blocks loaded"
        );
    }
}

/// What will be announced.
pub(crate) struct MeasureLine<'a> {
    pub(crate) forward: Option<f64>,
    pub(crate) inference: Option<f64>,
    pub(crate) network_mbps: f64,
    pub(crate) announced: f64,
    pub(crate) origin: &'a str,
}

impl StartLine for MeasureLine<'_> {
    fn pretty(&self) -> String {
        let measured = match (self.inference, self.forward) {
            (Some(inference), Some(forward)) => format!(
                "inference {} tok/s, forward {} tok/s for one block; network assumed {} Mbit/s; ",
                rate(inference),
                rate(forward),
                rate(self.network_mbps)
            ),
            _ => String::new(),
        };
        format!(
            "measure  {measured}announced {} tok/s ({})",
            rate(self.announced),
            self.origin
        )
    }

    fn log(&self) {
        info!(
            forward = self.forward,
            inference = self.inference,
            assumed_network_mbps = self.network_mbps,
            announced = self.announced,
            origin = self.origin,
            "throughput known"
        );
    }
}

/// Whether others can connect.
pub(crate) struct ReachLine<'a> {
    pub(crate) verdict: &'a str,
}

impl StartLine for ReachLine<'_> {
    fn pretty(&self) -> String {
        format!("reach    {}", self.verdict)
    }

    fn log(&self) {
        info!(verdict = self.verdict, "reachability known");
    }
}

/// The swarm sees this server.
pub(crate) struct OnlineLine<'a> {
    pub(crate) blocks: &'a Range<usize>,
    pub(crate) num_blocks: usize,
    pub(crate) prefix: &'a str,
    pub(crate) others: usize,
    pub(crate) covered: usize,
}

impl StartLine for OnlineLine<'_> {
    fn pretty(&self) -> String {
        let plural = if self.others == 1 { "" } else { "s" };
        format!(
            "online   serving {}:{} in swarm \"{}\", {} other server{plural}, {} of {} blocks covered",
            self.blocks.start,
            self.blocks.end,
            self.prefix,
            self.others,
            self.covered,
            self.num_blocks
        )
    }

    fn log(&self) {
        info!(
            start_block = self.blocks.start,
            end_block = self.blocks.end,
            num_blocks = self.num_blocks,
            dht_prefix = self.prefix,
            other_servers = self.others,
            covered_blocks = self.covered,
            "online"
        );
    }
}

fn blocks_text(count: usize) -> String {
    if count == 1 {
        "1 block".to_owned()
    } else {
        format!("{count} blocks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_line_says_what_is_held_in_which_format() {
        let line = DeviceLine {
            device: "cpu",
            kernels: Some("avx512"),
            threads: 2,
            weights: "nf4",
            kv_dtype: "bf16",
            boundary: "bfloat16",
        };
        assert_eq!(
            line.pretty(),
            "device   cpu, avx512 kernels, 2 threads   weights nf4, KV cache bf16, hidden states between blocks bfloat16"
        );
    }

    #[test]
    fn the_network_figure_is_said_to_be_assumed() {
        let line = MeasureLine {
            forward: Some(1024.0),
            inference: Some(9.5),
            network_mbps: 100.0,
            announced: 512.0,
            origin: "measured now",
        };
        assert_eq!(
            line.pretty(),
            "measure  inference 9.50 tok/s, forward 1024 tok/s for one block; network assumed 100 Mbit/s; \
             announced 512 tok/s (measured now)"
        );
    }
}
