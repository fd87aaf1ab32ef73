//! What one known generation must have counted, everywhere.

/// A query that gives one series, and the value it must reach.
#[derive(Debug)]
pub(crate) struct Expected {
    /// PromQL.
    pub(crate) query: String,
    /// Exactly this.
    pub(crate) value: f64,
}

/// The counters of a generation from `prompt` tokens through `servers`, their scrape addresses in the order of the
/// route, each of which served nothing else before.
///
/// The prompt is one step, and each new id but the last one more. Each server got one step without tokens before, which
/// opened its session. Outputs are pushed from server to server.
pub(crate) fn of_generation(ending: &Summary, servers: &[&str]) -> Vec<Expected> {
    let prompt = ending.prompt;
    let steps = ending.ids;
    let decodes = steps - 1;
    let mut expected = Vec::new();
    let mut expect = |query: String, value: usize| {
        expected.push(Expected {
            query,
            value: value as f64,
        });
    };
    for (place, server) in servers.iter().enumerate() {
        let of_server =
            |name: &str, labels: &str| format!("{name}{{instance=\"{server}\"{labels}}}");
        let rpcs = |labels: &str| of_server("block_server_rpc_requests_total", labels);
        expect(rpcs(r#",method="rpc_inference",code="ok""#), 1 + steps);
        expect(format!("sum({})", rpcs(r#",code!="ok""#)), 0);
        let is_first = place == 0;
        let is_last = place + 1 == servers.len();
        expect(
            rpcs(r#",method="rpc_push",code="ok""#),
            if is_first { 0 } else { steps },
        );
        let pushes = of_server("block_server_peer_pushes_total", r#",outcome="ok""#);
        expect(pushes, if is_last { 0 } else { steps });
        let tokens = |phase: &str| {
            let phase = format!(",phase=\"{phase}\"");
            of_server("block_server_tokens_total", &phase)
        };
        expect(tokens("prefill"), prompt);
        expect(tokens("decode"), decodes);
        let ended = of_server("block_server_sessions_total", r#",outcome="closed""#);
        expect(ended, 1);
        expect(of_server("block_server_sessions_active", ""), 0);
        expect(
            of_server("block_server_session_tokens_sum", ""),
            prompt + decodes,
        );
        let computed = r#",phase="decode",stage="compute""#;
        expect(
            of_server("block_server_step_stage_duration_seconds_count", computed),
            decodes,
        );
        let used = of_server("block_server_kv_cache_tokens", r#",state="used""#);
        expect(used, 0);
    }
    // Copies of what a server has pushed already count here, and nowhere above.
    let bytes = |name: &str| format!("sum({name}{{method=\"rpc_inference\"}})");
    expect(
        bytes("block_server_rpc_received_bytes_total"),
        ending.bytes_sent,
    );
    expect(
        bytes("block_server_rpc_sent_bytes_total"),
        ending.bytes_received,
    );
    for (query, value) in at_the_client(servers.len(), decodes) {
        expect(query, value);
    }
    expected
}

/// What the client itself must have counted.
fn at_the_client(hops: usize, decodes: usize) -> Vec<(String, usize)> {
    let expected = [
        (r#"block_client_sessions_total{outcome="ok"}"#, 1),
        ("block_client_sessions_active", 0),
        (
            r#"block_client_route_builds_total{mode="min_latency",outcome="ok"}"#,
            1,
        ),
        ("block_client_route_hops_sum", hops),
        (
            r#"block_client_step_duration_seconds_count{phase="prefill"}"#,
            1,
        ),
        (
            r#"block_client_step_duration_seconds_count{phase="decode"}"#,
            decodes,
        ),
        (
            r#"block_client_hop_duration_seconds_count{phase="prefill"}"#,
            hops,
        ),
        (
            r#"block_client_hop_duration_seconds_count{phase="decode"}"#,
            hops * decodes,
        ),
        ("sum(block_client_hop_failures_total)", 0),
        ("sum(block_client_failovers_total)", 0),
        ("block_client_replayed_tokens_total", 0),
        ("block_client_banned_peers", 0),
        (r#"sum(swarm_servers{state="online"})"#, hops),
        ("sum(swarm_servers)", hops),
        ("swarm_model_blocks", 8),
        ("swarm_model_blocks_covered", 8),
        ("swarm_model_block_replicas_min", 1),
        ("sum(swarm_servers_by_version)", hops),
    ];
    expected
        .map(|(query, value)| (query.to_owned(), value))
        .to_vec()
}

/// What a generation's last line says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    /// Tokens of the prompt.
    pub(crate) prompt: usize,
    /// New tokens.
    pub(crate) ids: usize,
    /// Bytes of the messages to servers.
    pub(crate) bytes_sent: usize,
    /// Bytes of the messages from servers.
    pub(crate) bytes_received: usize,
}
