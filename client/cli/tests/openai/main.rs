//! Clients of OpenAI's API, unmodified, against `swarm gateway`: the official ones by `suite.py` and `suite.mjs`,
//! `async-openai`, and a crowd.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and shows what the suites say"
)]

mod crowd;
mod rust_client;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use block_testing::{BlockServer, HttpGateway, Span, fable, repository, temporary};

const PREFIX: &str = "fable-7m-hf";
const KEYS: &str = "\
# name:key, and what else the key may
user:sk-user
narrow:sk-narrow:model=other
admin:sk-admin:admin
";

/// Who calls.
#[derive(Clone, Copy, Debug)]
enum Client {
    Python,
    JavaScript,
}

const CLIENTS: [Client; 2] = [Client::Python, Client::JavaScript];

/// Servers that are online, and how others join them.
struct Servers {
    running: Vec<BlockServer>,
    address: String,
}

impl Servers {
    /// A server for each of `spans`.
    fn start(name: &str, spans: &[&str]) -> Self {
        let (mut running, mut address) = (Vec::new(), None);
        for blocks in spans {
            let span = Span {
                prefix: PREFIX,
                blocks,
                dtype: "f32",
                flags: &[],
            };
            let name = format!("{name}-{}", blocks.replace(':', "-"));
            let server = BlockServer::spawn(&name, &fable(), &span, address.as_deref());
            let ready = server.await_ready();
            address.get_or_insert(ready.address);
            running.push(server);
        }
        Self {
            running,
            address: address.expect("at least one"),
        }
    }

    /// A gateway to them, and its address.
    fn gateway(&self, name: &str, flags: &[&str]) -> (HttpGateway, String) {
        let keys = temporary(&format!("{name}.keys"));
        std::fs::write(&keys, KEYS).unwrap();
        let keys = keys.to_str().unwrap();
        let mut all = vec!["--dht-prefix", PREFIX, "--served-model-name", "fable-7m"];
        all.extend(["--api-key-file", keys]);
        all.extend(flags);
        let gateway = HttpGateway::spawn(name, &fable(), &self.address, &all);
        let url = gateway.await_ready();
        (gateway, url)
    }
}

/// Where the clients are, installed on the first call.
fn clients() -> PathBuf {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let install = || {
        let status = Command::new(repository().join("scripts/openai-clients")).status();
        assert!(status.unwrap().success(), "scripts/openai-clients failed");
        repository().join(".cache/openai-clients")
    };
    PLACE.get_or_init(install).clone()
}

/// Runs the tests of a group; `on_kill` when the suite says `kill`.
fn run(client: Client, group: &str, url: &str, mut on_kill: impl FnMut()) {
    let (place, here) = (clients(), repository().join("client/cli/tests/openai"));
    let (program, suite) = match client {
        Client::Python => ("venv/bin/python", "suite.py"),
        Client::JavaScript => ("venv/bin/node", "suite.mjs"),
    };
    let mut child = Command::new(place.join(program))
        .arg(here.join(suite))
        .args([group, &format!("{url}/v1")])
        .arg(&place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut stderr = child.stderr.take().unwrap();
    let errors = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if line == "kill" {
            on_kill();
            stdin.write_all(b"killed\n").unwrap();
        } else {
            println!("{client:?}: {line}");
        }
    }
    let errors = errors.join().unwrap();
    assert!(
        child.wait().unwrap().success(),
        "{client:?}, {group}: {errors}"
    );
}

#[test]
fn answers_and_refusals_are_openais() {
    let servers = Servers::start("openai", &["0:4", "4:8"]);
    let (_gateway, url) = servers.gateway("openai-answers", &[]);
    for client in CLIENTS {
        run(client, "answers", &url, || ());
        run(client, "keys", &url, || ());
    }
}

#[test]
fn limits_are_obeyed_by_the_clients_themselves() {
    let servers = Servers::start("openai-limits", &["0:8"]);
    for client in CLIENTS {
        for (group, flags) in [
            ("rate", ["--rate-limit", "2/s"].as_slice()),
            ("queue", &["--max-concurrent", "1", "--max-queue", "0"]),
            ("slow", &["--request-timeout", "0.05"]),
        ] {
            let (gateway, url) = servers.gateway(&format!("openai-{group}"), flags);
            run(client, group, &url, || ());
            gateway.terminate();
        }
    }
}

#[test]
fn a_swarm_that_fails_is_told_from_one_that_cannot_begin() {
    let half = Servers::start("openai-half", &["0:4"]);
    let (_half_gateway, url) = half.gateway("openai-no-route", &[]);
    for client in CLIENTS {
        run(client, "no_route", &url, || ());
    }
    for client in CLIENTS {
        let servers = Servers::start("openai-dying", &["0:4", "4:8"]);
        let (_gateway, url) = servers.gateway("openai-dying", &["--repair-timeout", "3"]);
        run(client, "dying", &url, || {
            servers.running.iter().for_each(BlockServer::kill);
        });
    }
}
