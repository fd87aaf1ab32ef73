//! A real Prometheus as a child process, and what it answers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use block_testing::{Child, Farewell, PATIENCE, repository, temporary};
use serde_json::{Value, json};

/// Between two looks at something that changes by itself.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// A running Prometheus with the repository's configuration; only targets and intervals differ.
#[derive(Debug)]
pub(crate) struct Prometheus {
    _child: Child,
    address: String,
    clients: PathBuf,
}

/// One series of an answer.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Its value now.
    pub(crate) value: f64,
}

impl Prometheus {
    /// Scrapes the admin ports `servers` every second, and clients as told later.
    pub(crate) fn start(servers: &[&str]) -> Self {
        let folder = temporary("prometheus");
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        let configs = repository().join("configs/prometheus");
        let mut config = fs::read_to_string(configs.join("prometheus.yml")).unwrap();
        let quoted: Vec<_> = servers
            .iter()
            .map(|server| format!("\"{server}\""))
            .collect();
        for (ours, tests) in [
            ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
            (
                "evaluation_interval: 15s",
                "evaluation_interval: 1s".to_owned(),
            ),
            (r#""127.0.0.1:31331""#, quoted.join(",")),
            (
                "static_configs:\n      - targets: [\"127.0.0.1:31341\"]",
                "file_sd_configs:\n      - files: [clients.json]\n        refresh_interval: 1s"
                    .to_owned(),
            ),
        ] {
            assert_eq!(config.matches(ours).count(), 1, "{ours} in {config}");
            config = config.replace(ours, &tests);
        }
        fs::write(folder.join("prometheus.yml"), config).unwrap();
        fs::copy(configs.join("rules.yml"), folder.join("rules.yml")).unwrap();
        let clients = folder.join("clients.json");
        fs::write(&clients, "[]").unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=storage")
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(&folder);
        let child = Child::spawn("prometheus", command, Farewell::Terminate);
        let address = eventually(|| {
            let log = child.log();
            let address = log.split_once("msg=\"Listening on\" address=");
            let address = address.and_then(|(_, rest)| rest.split_whitespace().next());
            address
                .map(str::to_owned)
                .ok_or_else(|| format!("no address in {log}"))
        });
        Self {
            _child: child,
            address,
            clients,
        }
    }

    /// From now on scrapes the client at this address, and no other.
    pub(crate) fn scrape_client(&self, address: &str) {
        let fresh = self.clients.with_extension("fresh");
        fs::write(&fresh, json!([{ "targets": [address] }]).to_string()).unwrap();
        fs::rename(fresh, &self.clients).unwrap();
    }

    /// What a query gives now.
    ///
    /// # Errors
    /// Prometheus's own text if it cannot read the query.
    pub(crate) fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let path = format!("/api/v1/query?query={}", percent_encoded(expression));
        let answer: Value = serde_json::from_str(&get(&self.address, &path)).unwrap();
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let samples = answer["data"]["result"].as_array().unwrap().iter();
        Ok(samples
            .map(|sample| Sample {
                labels: serde_json::from_value(sample["metric"].clone()).unwrap(),
                // Infinity and NaN are texts that Rust reads, too.
                value: sample["value"][1].as_str().unwrap().parse().unwrap(),
            })
            .collect())
    }

    /// The value of a query that gives one series; `None` while it gives none.
    pub(crate) fn value(&self, expression: &str) -> Option<f64> {
        let samples = self.query(expression).unwrap();
        assert!(samples.len() < 2, "{expression} gives {samples:?}");
        samples.first().map(|sample| sample.value)
    }
}

/// Looks until it is so; fails with what was still wrong at the last look.
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(problem) if began.elapsed() > PATIENCE => {
                panic!("after {PATIENCE:?} still: {problem}")
            }
            Err(_) => std::thread::park_timeout(LOOK_PERIOD),
        }
    }
}

/// The body that `GET` gives. Version 1.0 of HTTP has no chunks.
pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
