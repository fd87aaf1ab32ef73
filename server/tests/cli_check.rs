//! `block-server check`, `bench`, `config`, completions and manual pages, as a person uses them.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::fs;

use block_testing::{Home, fable, in_own_network};

/// Flags of a start that collides with nobody.
const FREE: [&str; 4] = [
    "--listen-maddr",
    "/ip4/127.0.0.1/tcp/0",
    "--admin-listen",
    "127.0.0.1:0",
];

fn check(home: &Home, extra: &[&str]) -> (Option<i32>, String) {
    let model = fable();
    let words = ["check", model.to_str().unwrap()].into_iter();
    let finished = home.output(words.chain(FREE).chain(extra.iter().copied()));
    (finished.code, finished.stdout)
}

#[test]
fn a_check_has_a_line_for_each_thing_and_leaves_nothing_behind() {
    let home = Home::new("block-server");
    let (code, lines) = check(&home, &[]);
    assert_eq!(code, Some(0), "{lines}");
    for part in [
        "ok    settings  no configuration file",
        "ok    identity  ",
        "ok    port      127.0.0.1:0 is free",
        "ok    admin     127.0.0.1:0 is free",
        "ok    device    cpu with ",
        "8 of 8 blocks",
        "ok    swarm     a new private one",
    ] {
        assert!(lines.contains(part), "{part} in {lines}");
    }
    assert!(!home.path().join("state").exists());
}

#[test]
fn a_check_of_the_local_network_says_whether_multicast_leaves_and_who_is_there() {
    let name = "a_check_of_the_local_network_says_whether_multicast_leaves_and_who_is_there";
    in_own_network(name, || {
        let home = Home::new("block-server");
        let (code, lines) = check(&home, &["--lan", "--listen-maddr", "/ip4/0.0.0.0/tcp/0"]);
        assert_eq!(code, Some(0), "{lines}");
        for part in [
            "ok    lan       mDNS goes out from 10.93.0.1",
            "ok    swarm     nobody on the local network yet",
        ] {
            assert!(lines.contains(part), "{part} in {lines}");
        }
    });
}

#[test]
fn a_check_fails_where_a_start_would() {
    let home = Home::new("block-server");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!(
        "--listen-maddr=/ip4/127.0.0.1/tcp/{}",
        taken.local_addr().unwrap().port()
    );
    let (code, lines) = check(&home, &["--blocks", "0:40", &taken]);
    assert_eq!(code, Some(69), "{lines}");
    assert!(lines.contains("fail  port "), "{lines}");
    assert!(lines.contains("fail  model     --blocks 0:40"), "{lines}");
    assert!(lines.contains("the model has 8 blocks"), "{lines}");
    let finished = home.output(["check", "--json", "--dht-prefix", "a.b"]);
    assert_eq!(finished.code, Some(69));
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(report["checks"][0]["verdict"], "fail");
    assert_eq!(report["checks"][0]["name"], "settings");
}

#[test]
fn a_check_without_a_model_looks_at_the_rest() {
    let home = Home::new("block-server");
    let finished = home.output(["check"].into_iter().chain(FREE));
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    for part in [
        "warn  model     none is named",
        "ok    swarm ",
        "hint: block-server check --model M",
    ] {
        assert!(
            finished.stdout.contains(part),
            "{part} in {}",
            finished.stdout
        );
    }
}

#[test]
fn a_check_asks_the_swarm() {
    let home = Home::new("block-server");
    let server = home.serve(&["--blocks", "0:1"]);
    let (code, lines) = check(
        &home,
        &[
            "--identity",
            "second.key",
            "--initial-peers",
            &server.address,
        ],
    );
    assert_eq!(code, Some(0), "{lines}");
    assert!(lines.contains("ok    swarm     1 peer known"), "{lines}");
    assert!(lines.contains("  reach  "), "{lines}");
    let nobody = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let (code, lines) = check(&home, &["--join-timeout", "0.5", "--initial-peers", nobody]);
    assert_eq!(code, Some(69), "{lines}");
    assert!(
        lines.contains("fail  swarm     no initial peer answered within 0.5 s: /ip4/127"),
        "{lines}"
    );
}

#[test]
fn a_bench_is_kept_for_the_next_start() {
    let home = Home::new("block-server");
    let model = fable();
    let finished = home.output([
        "bench",
        "--json",
        "--blocks",
        "0:1",
        model.to_str().unwrap(),
    ]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    for figure in ["inference", "forward", "network", "throughput"] {
        assert!(report[figure].as_f64().unwrap() > 0.0, "{report}");
    }
    let server = home.serve(&["--throughput", "auto", "--blocks", "0:1"]);
    server.signal("TERM");
    let log = server.wait().stderr;
    assert!(log.contains("origin=\"measured earlier\""), "{log}");
}

#[test]
fn settings_are_written_read_and_explained() {
    let home = Home::new("block-server");
    let config = |words: &[&str]| {
        let finished = home.output(["config"].iter().chain(words).copied());
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        finished.stdout
    };
    let file = home.path().join("config/block-server/config.toml");
    config(&["init"]);
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("# port = 31330\n")
    );
    config(&["set", "port", "31400"]);
    config(&["set", "initial-peers", "a", "b"]);
    let shown = config(&["show", "--origin"]);
    assert!(shown.contains("initial-peers = [\"a\", \"b\"]"), "{shown}");
    let port = shown
        .lines()
        .find(|line| line.starts_with("port = 31400 "))
        .unwrap();
    assert!(port.contains("config/block-server/config.toml:"), "{port}");
    let admin = shown
        .lines()
        .find(|line| line.starts_with("admin-listen"))
        .unwrap();
    assert!(
        admin.ends_with("# environment BLOCK_SERVER_ADMIN_LISTEN"),
        "{admin}"
    );
    config(&["schema"]);
    // A start finds them.
    home.output(["org/m", "--blocks", "1"])
        .fails_with(2, &["--initial-peers: a is not a multiaddr"]);
}

#[test]
fn the_admin_address_of_the_file_is_the_one_that_is_asked() {
    let home = Home::new("block-server");
    let server = home.serve(&["--blocks", "0:1"]);
    let text = format!("[admin]\nlisten = \"{}\"\n", server.admin_address);
    fs::write(home.path().join("server.toml"), text).unwrap();
    let mut command = home.command(["status", "-c", "server.toml"]);
    let output = command
        .env_remove("BLOCK_SERVER_ADMIN_LISTEN")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("blocks     0:1 of 8"), "{text}");
}

#[test]
fn an_identity_is_made_once_and_shown() {
    let home = Home::new("block-server");
    home.output(["identity", "show"]).fails_with(
        66,
        &["there is no key in ", "hint: block-server identity new"],
    );
    let made = home.output(["identity", "new"]);
    assert!(
        made.stdout.starts_with("peer id   12D3KooW"),
        "{}",
        made.stderr
    );
    assert_eq!(home.output(["identity", "show"]).stdout, made.stdout);
    home.output(["identity", "new"])
        .fails_with(2, &["there is a key in ", "hint:"]);
    let server = home.serve(&["--blocks", "0:1"]);
    let peer_id = made.stdout.split_whitespace().nth(2).unwrap();
    assert!(server.address.ends_with(peer_id), "{}", server.address);
}

#[test]
fn shells_and_man_are_served() {
    let home = Home::new("block-server");
    for shell in ["bash", "zsh", "fish"] {
        let finished = home.output(["completions", shell]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert!(
            finished.stdout.contains("--public-swarm") || finished.stdout.contains("public-swarm")
        );
    }
    let page = home.output(["man"]).stdout;
    assert!(
        page.contains(".TH block-server 1") && page.contains("BLOCK_SERVER_PORT"),
        "{page}"
    );
    assert!(
        home.output(["man", "plan"])
            .stdout
            .contains(".TH block-server-plan 1")
    );
}

#[test]
fn a_reader_who_leaves_early_is_no_error() {
    let home = Home::new("block-server");
    for words in [
        &["--help"][..],
        &["completions", "bash"],
        &["config", "schema"],
    ] {
        let mut command = home.command(words.iter().copied());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{words:?}");
    }
}
