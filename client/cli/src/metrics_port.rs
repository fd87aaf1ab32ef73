//! `--metrics-listen`: the metrics of this process over HTTP.

use std::net::SocketAddr;
use std::path::Path;

use block_client::metrics;
use block_program::{Exporter, Failure, HttpPort, MetricsTable, Secret};

use crate::output::remark;

/// The client's own metrics.
pub(crate) const CLIENT: MetricsTable = MetricsTable {
    describe: metrics::describe_all,
    buckets: || metrics::histogram_buckets().collect(),
};

/// Starts the port, if there is to be one, and says where it is. `/metrics` asks for the token in `token_file`.
///
/// # Errors
/// The file is of no use; without one, the address is open to other machines (exit 2); it cannot be bound (71).
pub(crate) async fn start(
    listen: Option<SocketAddr>,
    token_file: Option<&Path>,
) -> Result<Option<HttpPort>, Failure> {
    let Some(listen) = listen else {
        return Ok(None);
    };
    let token = match token_file {
        Some(file) => Some(Secret::read("--metrics-token-file", file)?),
        None => None,
    };
    let exporter = Exporter::of_process("swarm", &[CLIENT])?;
    let port = HttpPort::start_metrics(listen, exporter, token).await?;
    remark(&format!("metrics on http://{}/metrics", port.address));
    Ok(Some(port))
}
