//! `--metrics-listen`: the metrics of this process over HTTP.

use std::net::SocketAddr;

use block_client::metrics;
use block_program::{Exporter, Failure, HttpPort, MetricsTable};

use crate::output::remark;

/// The client's own metrics.
const CLIENT: MetricsTable = MetricsTable {
    describe: metrics::describe_all,
    buckets: || metrics::histogram_buckets().collect(),
};

/// Starts the port, if there is to be one, and says where it is.
///
/// # Errors
/// The address cannot be bound (exit 71).
pub(crate) async fn start(listen: Option<SocketAddr>) -> Result<Option<HttpPort>, Failure> {
    let Some(listen) = listen else {
        return Ok(None);
    };
    let exporter = Exporter::of_process("swarm", &[CLIENT])?;
    let port = HttpPort::start_metrics(listen, exporter).await?;
    remark(&format!("metrics on http://{}/metrics", port.address));
    Ok(Some(port))
}
