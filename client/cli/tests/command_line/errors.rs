//! Each failure: its exit code, its text with a hint, and nothing on standard output.

use std::fs;

use block_testing::{Home, RefusingHub, fable};

const PEER: &str = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

fn home() -> Home {
    Home::new("swarm")
}

#[test]
fn without_a_swarm_it_says_what_to_pass() {
    let home = home();
    let model = fable();
    let model = model.to_str().unwrap();
    for line in [
        vec!["run", model, "hello"],
        vec!["map", model],
        vec!["models"],
    ] {
        home.output(line)
            .fails_with(2, &["error: no swarm given", "hint: --initial-peers ADDR"]);
    }
}

#[test]
fn wrong_command_lines_end_with_2() {
    let home = home();
    let run = ["run", "m", "hello", "--initial-peers", PEER];
    let with = |more: &[&'static str]| [&run[..], more].concat();
    home.output([]).fails_with(2, &["Usage: swarm"]);
    home.output(["rum"]).fails_with(2, &["'run'"]);
    home.output(with(&["--max-tokns", "3"]))
        .fails_with(2, &["--max-tokns", "--max-tokens"]);
    home.output(with(&["--top-p", "2"]))
        .fails_with(2, &["error: --top-p must be", "2"]);
    home.output(with(&["--temperature", "-1"]))
        .fails_with(2, &["-1"]);
    home.output(with(&["--stop", ""]))
        .fails_with(2, &["--stop must not be empty"]);
    home.output(with(&["--activation-codec", "zip"]))
        .fails_with(2, &["auto, none, float16, blockwise8"]);
    home.output(with(&["--public-swarm"]))
        .fails_with(2, &["exclude each other", "hint:"]);
    home.output(["run", "m", "hello", "--initial-peers", "/ip4/1.2.3.4/tcp/1"])
        .fails_with(2, &["end in /p2p/PEER", "hint:"]);
    home.output(["run", "m", "--initial-peers", PEER])
        .fails_with(2, &["error: no prompt given", "hint:"]);
    home.output(["ping", "nobody"])
        .fails_with(2, &["neither a multiaddr nor a peer id", "hint:"]);
    home.output(["ping", "/ip4/1.2.3.4/tcp/1"])
        .fails_with(2, &["which peer is meant", "hint:"]);
    home.output(["bootstrap", "--listen", "/ip4/1.2.3.4/udp/1"])
        .fails_with(2, &["--listen accepts an IP address", "hint:"]);
    home.output(["map", "m", "--dht-prefix", "a.b", "--initial-peers", PEER])
        .fails_with(2, &["--dht-prefix"]);
}

#[test]
fn a_missing_model_ends_with_66() {
    let home = home();
    home.output(["run", "./absent", "hello", "--initial-peers", PEER])
        .fails_with(66, &["there is no folder ./absent", "hint:"]);
    home.output(["run", "org/absent", "hello", "--initial-peers", PEER])
        .fails_with(66, &["org/absent", "hint:"]);
    fs::create_dir(home.path().join("empty")).unwrap();
    home.output(["run", "./empty", "hello", "--initial-peers", PEER])
        .fails_with(66, &["config.json"]);
    home.output(["demo", "--block-server", "./absent"])
        .fails_with(
            66,
            &["no server program ./absent", "hint: cargo build --release"],
        );
}

#[test]
fn a_model_that_cannot_be_read_ends_with_65() {
    let home = home();
    let folder = home.path().join("other");
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join("config.json"),
        r#"{"architectures": ["OtherForCausalLM"], "model_type": "other"}"#,
    )
    .unwrap();
    home.output(["run", "./other", "hello", "--initial-peers", PEER])
        .fails_with(65, &["OtherForCausalLM", "LlamaForCausalLM"]);
    let folder = home.path().join("damaged");
    fs::create_dir(&folder).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fable().join(name), folder.join(name)).unwrap();
    }
    fs::write(folder.join("tokenizer.json"), "{").unwrap();
    home.output(["run", "./damaged", "hello", "--initial-peers", PEER])
        .fails_with(65, &["tokenizer.json", "hint:"]);
}

#[test]
fn a_swarm_that_nobody_answers_for_ends_with_69() {
    let home = home();
    let model = fable();
    let model = model.to_str().unwrap();
    for line in [vec!["run", model, "hello"], vec!["map", model]] {
        let line = [&line[..], &["--initial-peers", PEER, "--join-timeout", "1"]].concat();
        home.output(line)
            .fails_with(69, &["no initial peer answered", PEER, "hint:"]);
    }
    home.output(["ping", PEER, "--join-timeout", "1"])
        .fails_with(69, &[PEER, "hint:"]);
}

#[test]
fn metrics_for_other_machines_need_a_token() {
    let home = home();
    let open = ["--metrics-listen", "0.0.0.0:0"];
    let hint = ["would be open to other machines", "hint: name a file"];
    let run = ["run", "MODEL", "hello", "--initial-peers", PEER];
    home.output([&run[..], &open].concat()).fails_with(2, &hint);
    home.output([&["bootstrap"], &open[..]].concat())
        .fails_with(2, &hint);
    let missing = ["--metrics-token-file", "/nonexistent/token"];
    home.output([&run[..], &open, &missing].concat())
        .fails_with(66, &["/nonexistent/token"]);
}

#[test]
fn a_taken_port_ends_with_71() {
    let home = home();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    home.output([
        "run",
        fable().to_str().unwrap(),
        "hello",
        "--initial-peers",
        PEER,
        "--metrics-listen",
        &address,
    ])
    .fails_with(71, &[&address, "hint: --metrics-listen"]);
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    home.output(["bootstrap", "--listen", &listen])
        .fails_with(71, &[&listen, "hint:"]);
}

#[test]
fn an_identity_that_is_no_key_ends_with_65() {
    let home = home();
    fs::write(home.path().join("key"), "not a key").unwrap();
    home.output(["bootstrap", "--identity", "key"])
        .fails_with(65, &["private key", "hint:"]);
}

#[test]
fn a_token_file_that_is_missing_ends_with_66() {
    let home = home();
    let line = ["run", "org/m", "hello", "--initial-peers", PEER];
    home.output([&line[..], &["--token-file", "absent"]].concat())
        .fails_with(66, &["--token-file", "absent"]);
}

#[test]
fn a_hub_that_refuses_is_told_apart() {
    let home = home();
    let run = ["run", "org/model", "hello", "--initial-peers", PEER];
    let gated = RefusingHub::start("401 Unauthorized", "GatedRepo");
    home.output_with_hub(&gated, run).fails_with(
        77,
        &[
            "https://huggingface.co/org/model",
            "--token-file",
            "HF_TOKEN",
        ],
    );
    let empty = RefusingHub::start("404 Not Found", "RepoNotFound");
    home.output_with_hub(&empty, run)
        .fails_with(66, &["org/model", "hint: check the name"]);
}
