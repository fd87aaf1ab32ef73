//! A swarm of three servers under load, and a Prometheus that watches it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use block_testing::home::Server;
use block_testing::{Home, HttpGateway, SwarmRun, admin_get, fable};

use crate::catalogue::assert_documented;
use crate::exposition::parse;
use crate::prometheus::{Prometheus, eventually, get};
use crate::queries::{Query, queries};
use crate::trace::{self, Summary};

/// Spans of the three servers: one route leads through all.
const SPANS: [&str; 3] = ["0:3", "3:6", "6:8"];

/// The prompt of every generation here.
const PROMPT: &str = "1,40,41,42,43,44,45,46";

/// New tokens of the generation that is counted.
const TOKENS: usize = 120;

/// New tokens of a generation that is watched: it takes several scrapes, and stays below a session's greatest length.
const LOAD_TOKENS: usize = 4000;

/// What Grafana puts for `$__rate_interval`: it makes it at least four scrapes long.
const RATE_WINDOW: &str = "10s";

#[test]
fn prometheus_sees_what_happened() {
    let homes = SPANS.map(|_| Home::new("block-server"));
    let first = homes[0].serve(&["--blocks", SPANS[0], "--public-name", "first"]);
    let join = |home: usize| {
        let flags = ["--blocks", SPANS[home], "--initial-peers", &first.address];
        homes[home].serve(&flags)
    };
    let (second, third) = (join(1), join(2));
    let servers = [&first, &second, &third].map(|server| server.admin_address.as_str());
    let prometheus = Prometheus::start(&servers);

    let mut known = Client::start("known", &first, TOKENS);
    prometheus.scrape_client(&known.address);
    let summary = known.await_summary();
    await_counters(&prometheus, summary, &servers);

    // The client has ended its session by now, but stays for the last scrape.
    let texts: Vec<String> = servers
        .iter()
        .chain([&known.address.as_str()])
        .map(|address| get(address, "/metrics"))
        .collect();
    let texts = [texts, vec![of_gateway(&first.address)]].concat();
    for text in &texts {
        assert_promtool_takes(text);
        assert!(!text.contains(" summary\n"), "{text}");
    }
    let exported: Vec<_> = texts.iter().map(|text| parse(text)).collect();
    assert_documented(&exported);
    known.run.kill();

    let served = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| generate_until(&served, &first, &prometheus));
        // Ends the load whatever happens.
        let _end = SetWhenDropped(&served);
        await_queries(&prometheus);
    });
    await_quiet_alerts(&prometheus);
}

/// What a gateway exports that has answered once.
fn of_gateway(server: &str) -> String {
    let gateway = HttpGateway::spawn("operations", &fable(), server, &[]);
    let address = gateway.await_ready().replace("http://", "");
    let mut stream = TcpStream::connect(&address).unwrap();
    let body = r#"{"model": "fable-7m", "max_tokens": 2, "messages": [{"role": "user", "content": "Once"}]}"#;
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("completion_tokens"), "{answer}");
    eventually(|| {
        let (_, text) = admin_get(&address, "/metrics");
        // The last to be counted, when its last byte has gone.
        if text.contains("block_gateway_http_request_duration_seconds_count") {
            return Ok(text);
        }
        Err(text)
    })
}

/// `swarm run` with a metrics port.
struct Client {
    run: SwarmRun,
    address: String,
}

impl Client {
    fn start(name: &str, server: &Server, tokens: usize) -> Self {
        let tokens = tokens.to_string();
        let run = SwarmRun::spawn(
            name,
            &[
                fable().to_str().unwrap(),
                "--prompt-ids",
                PROMPT,
                "--max-tokens",
                &tokens,
                "--ignore-eos",
                "--temperature",
                "0",
                "--initial-peers",
                &server.address,
                "--metrics-listen",
                "127.0.0.1:0",
                "--metrics-linger",
                "120",
            ],
        );
        let address = eventually(|| {
            let log = run.log();
            address_in(&log).ok_or_else(|| format!("no metrics port in {log}"))
        });
        Self { run, address }
    }

    /// Waits for the last line.
    fn await_summary(&mut self) -> Summary {
        let line = eventually(|| {
            let line = self.run.summary().cloned();
            line.ok_or_else(|| format!("the generation runs: {}", self.run.log()))
        });
        let count = |key: &str| line[key].as_array().map(Vec::len).unwrap();
        let number = |key: &str| usize::try_from(line[key].as_u64().unwrap()).unwrap();
        assert_eq!(line["route"].as_array().map(Vec::len), Some(SPANS.len()));
        assert_eq!(line["failovers"], 0);
        Summary {
            prompt: count("prompt_ids"),
            ids: count("ids"),
            bytes_sent: number("bytes_sent"),
            bytes_received: number("bytes_received"),
        }
    }
}

/// The port that the client tells, once the whole line is there.
fn address_in(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("metrics on http://")?;
    let (address, _) = rest.split_once("/metrics\n")?;
    Some(address.to_owned())
}

fn await_counters(prometheus: &Prometheus, summary: Summary, servers: &[&str]) {
    assert_eq!((summary.prompt, summary.ids), (8, TOKENS));
    let expected = trace::of_generation(&summary, servers);
    eventually(|| {
        let wrong: String = expected
            .iter()
            .map(|expected| (expected, prometheus.value(&expected.query)))
            .filter(|(expected, value)| *value != Some(expected.value))
            .map(|(expected, value)| format!("\n{expected:?} is {value:?}"))
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(wrong)
    });
}

/// One generation after the other.
fn generate_until(served: &AtomicBool, server: &Server, prometheus: &Prometheus) {
    for number in 0.. {
        let mut client = Client::start(&format!("load-{number}"), server, LOAD_TOKENS);
        prometheus.scrape_client(&client.address);
        let done = || served.load(Ordering::Relaxed);
        eventually(|| {
            if done() || client.run.summary().is_some() {
                return Ok(());
            }
            Err("the load runs".to_owned())
        });
        client.run.kill();
        if done() {
            return;
        }
    }
}

struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every panel shows something, and nothing that is not a number.
fn await_queries(prometheus: &Prometheus) {
    let mut waiting = queries();
    assert!(waiting.len() > 40);
    eventually(|| {
        let mut problems = Vec::new();
        waiting.retain(|query| {
            let answer = answer(prometheus, query);
            let is_waiting = answer.is_err();
            problems.extend(answer.err());
            is_waiting
        });
        if waiting.is_empty() {
            return Ok(());
        }
        Err(problems.join("\n"))
    });
}

fn answer(prometheus: &Prometheus, query: &Query) -> Result<(), String> {
    let mut expression = query.expression.clone();
    for (variable, value) in [
        ("$__rate_interval", RATE_WINDOW),
        ("$job", ".+"),
        ("$instance", ".+"),
        ("$model", ".+"),
    ] {
        expression = expression.replace(variable, value);
    }
    // A query that Prometheus cannot read will not get better.
    let samples = prometheus
        .query(&expression)
        .unwrap_or_else(|error| panic!("{}: {error}: {expression}", query.place));
    let is_good = !samples.is_empty() && samples.iter().all(|sample| sample.value.is_finite());
    if is_good {
        return Ok(());
    }
    Err(format!("{}: {expression} gives {samples:?}", query.place))
}

/// The rules are evaluated, and none fires over a swarm that is well.
fn await_quiet_alerts(prometheus: &Prometheus) {
    eventually(|| {
        let rate = prometheus.value("job:block_server_rpc_requests:rate5m");
        if rate.is_some_and(|rate| rate > 0.0) {
            return Ok(());
        }
        Err(format!("the recording rule gives {rate:?}"))
    });
    let firing = prometheus.query(r#"ALERTS{alertstate="firing"}"#).unwrap();
    assert!(firing.is_empty(), "{firing:?}");
    let pending = prometheus.query("ALERTS").unwrap();
    let fragile = |name: Option<&String>| name.is_some_and(|name| name == "SwarmModelFragile");
    // Each block has one server here; nothing else is wrong.
    assert!(
        pending
            .iter()
            .all(|alert| fragile(alert.labels.get("alertname"))),
        "{pending:?}"
    );
}

fn assert_promtool_takes(text: &str) {
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there: apt-get install prometheus (.ci/run does)");
    let mut input = check.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = check.wait_with_output().unwrap();
    let problems = [output.stdout, output.stderr].concat();
    let problems = String::from_utf8_lossy(&problems);
    assert!(output.status.success() && problems.is_empty(), "{problems}");
}
