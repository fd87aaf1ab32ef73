//! `block-server status`: asks the admin port of a running server.

use std::fmt::Write as _;
use std::net::SocketAddr;

use block_program::{Exit, Failure, Secret};

use crate::cli::StatusFlags;
use crate::http_get;
use crate::status_board::StatusReport;

/// Asks, and returns the text for stdout.
///
/// # Errors
/// No server answers there (exit 69), the token is wrong (77), or the address is no address (2).
pub async fn status(flags: &StatusFlags) -> Result<String, Failure> {
    let text = flags.admin_listen.as_str();
    let address: SocketAddr = text.parse().map_err(|_| {
        Failure::usage(format!(
            "--admin-listen accepts an address with a port, got {text:?}"
        ))
        .hint("the start lines of the server show it; the default is 127.0.0.1:31331")
    })?;
    let token = flags
        .admin_token_file
        .as_deref()
        .map(|file| Secret::read("--admin-token-file", file))
        .transpose()?;
    let reply = http_get::get(address, "/status", token.as_ref().map(Secret::expose)).await.map_err(|error| {
        Failure::new(Exit::Unavailable, format!("no server answers on {address}"))
            .caused_by(&error)
            .hint("start one with block-server --model M, or name its admin address with --admin-listen")
    })?;
    match reply.status {
        200 => {}
        401 => {
            return Err(Failure::new(
                Exit::NoPermission,
                format!("the server on {address} asks for its admin token"),
            )
            .hint("--admin-token-file with the file that the server was given"));
        }
        other => {
            return Err(Failure::new(
                Exit::Unavailable,
                format!("what listens on {address} is not a block server"),
            )
            .cause(format!("it answers /status with code {other}")));
        }
    }
    let report: StatusReport = serde_json::from_slice(&reply.body).map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format!("what listens on {address} is not a block server"),
        )
        .caused_by(&error)
    })?;
    if flags.json {
        let text = serde_json::to_string(&report);
        text.map_err(|error| {
            Failure::new(Exit::Software, "the status cannot be written").caused_by(&error)
        })
    } else {
        Ok(table(&report))
    }
}

fn table(report: &StatusReport) -> String {
    let rows = [
        ("state", report.state.clone()),
        ("model", report.model.clone()),
        (
            "blocks",
            format!(
                "{}:{} of {}",
                report.start_block, report.end_block, report.num_blocks
            ),
        ),
        ("swarm", report.dht_prefix.clone()),
        ("peer id", report.peer_id.clone()),
        ("addresses", report.addresses.join("\n           ")),
        ("sessions", report.sessions.to_string()),
        ("cache left", format!("{} tokens", report.cache_tokens_left)),
        (
            "dtype",
            format!(
                "{}, quantization {}, KV cache {}",
                report.dtype, report.quant_type, report.kv_dtype
            ),
        ),
        ("threads", report.threads.to_string()),
        ("throughput", format!("{:.1} tokens/s", report.throughput)),
        ("codecs", report.codecs.join(", ")),
        (
            "process",
            format!("{} ({})", report.pid, report.implementation),
        ),
    ];
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{name:<10} {value}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_fact() {
        let report = StatusReport {
            state: "online".into(),
            addresses: vec![
                "/ip4/127.0.0.1/tcp/1/p2p/x".into(),
                "/ip6/::1/tcp/1/p2p/x".into(),
            ],
            end_block: 8,
            num_blocks: 8,
            ..StatusReport::default()
        };
        let text = table(&report);
        assert!(text.starts_with("state      online\n"), "{text}");
        assert!(text.contains("\nblocks     0:8 of 8\n"), "{text}");
        assert!(
            text.contains("\naddresses  /ip4/127.0.0.1/tcp/1/p2p/x\n           /ip6/"),
            "{text}"
        );
    }
}
