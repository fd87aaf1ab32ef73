//! What the program prints, word for word: help, errors, the shape of JSON. `SNAPSHOTS=overwrite` writes it anew.

use std::fs;
use std::io::Read;

use block_testing::{Golden, Home, fable};

use crate::{gateway, pull};

fn golden() -> Golden {
    Golden::of_crate(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_help_text_is_as_it_was() {
    golden().check_help(&Home::new("swarm"));
}

#[test]
fn every_error_is_as_it_was() {
    let (golden, home) = (golden(), Home::new("swarm"));
    std::os::unix::fs::symlink(fable(), home.path().join("fable")).unwrap();
    fs::write(home.path().join("wrong.toml"), "max-tokns = 3\n").unwrap();
    fs::write(home.path().join("peers"), "# nobody\n").unwrap();
    let peer = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    for (name, line) in [
        ("no-command", String::new()),
        ("unknown-command", "rum".to_owned()),
        ("unknown-flag", "run m x --max-tokns 3".to_owned()),
        ("no-swarm", "models".to_owned()),
        ("no-prompt", format!("run m --initial-peers {peer}")),
        (
            "two-swarms",
            format!("models --public-swarm --initial-peers {peer}"),
        ),
        ("peers-file", "models --initial-peers-file peers".to_owned()),
        ("file-key", "models -c wrong.toml".to_owned()),
        (
            "offline",
            format!("run org/absent x --offline --initial-peers {peer}"),
        ),
        (
            "nobody-answers",
            format!("models --join-timeout 0.5 --initial-peers {peer}"),
        ),
        ("set-key", "config set max-tokns 1".to_owned()),
        ("ipfs", "bootstrap --use_ipfs".to_owned()),
    ] {
        golden.check_error(name, &home, &home.output(line.split_whitespace()));
    }
}

#[test]
fn the_shape_of_every_json_answer_is_as_it_was() {
    let (golden, home) = (golden(), Home::new("swarm"));
    let server = home.serve(&[]);
    let peers = format!("--initial-peers={}", server.address);
    let model = fable();
    let model = model.to_str().unwrap();
    for (name, words) in [
        (
            "run",
            &[
                "run",
                model,
                "Once upon",
                "--max-tokens=2",
                "--json",
                &peers,
            ][..],
        ),
        ("map", &["map", model, "--json", &peers]),
        ("models", &["models", "--json", &peers]),
        ("peers", &["peers", "--json", &peers]),
        ("ping", &["ping", &server.address, "--json", "--count=1"]),
        (
            "bench",
            &[
                "bench",
                model,
                "--json",
                "--requests=2",
                "--prompt-tokens=4",
                "--max-tokens=3",
                &peers,
            ],
        ),
        ("config-show", &["config", "show", "--json"]),
        ("version", &["version", "--json"]),
    ] {
        let finished = home.output(words.iter().copied());
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        golden.check_shape(name, &finished.stdout);
    }
}

#[test]
fn the_shape_of_what_is_pulled_is_as_it_was() {
    let (golden, home) = (golden(), Home::new("swarm"));
    let (hub, _) = pull::publish(&home);
    let told = pull::pull(&home, &hub, &["--blocks", "0:2"]);
    golden.check_shape("pull", &told.to_string());
}

#[test]
fn the_shape_of_a_listed_session_is_as_it_was() {
    let (golden, home) = (golden(), Home::new("swarm"));
    // Slow, so that the answer lasts until it is listed.
    let server = home.serve(&["--block-delay", "0.05"]);
    let (_gateway, address) = gateway::ready(&home, &server.address, &[]);
    let endless = r#"{"model": "fable-7m", "max_tokens": 400, "ignore_eos": true, "stream": true, "messages": [{"role": "user", "content": "Once"}]}"#;
    let mut stream = gateway::ask(&address, endless);
    stream.read_exact(&mut [0; 1]).unwrap();
    let url = format!("http://{address}");
    let listed = home.output(["ps", "--json", "--url", &url]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    golden.check_shape("ps", &listed.stdout);
}

#[test]
fn settings_come_from_files_and_are_written_to_them() {
    let home = Home::new("swarm");
    let server = home.serve(&[]);
    home.output(["config", "set", "initial-peers", &server.address]);
    let said = home.output(["config", "set", "ping.count", "2"]);
    assert!(said.stdout.ends_with("ping.count = 2\n"), "{}", said.stderr);
    let models = home.output(["models"]);
    assert!(models.stdout.contains("fable-7m-hf"), "{}", models.stderr);
    let ping = home.output(["ping", &server.address, "--json"]);
    let ping: serde_json::Value = serde_json::from_str(&ping.stdout).unwrap();
    assert_eq!(ping["rtt_ms"].as_array().map(Vec::len), Some(2), "{ping}");
    let shown = home.output(["config", "show", "--origin"]).stdout;
    let peers = shown
        .lines()
        .find(|line| line.starts_with("initial-peers = "))
        .unwrap();
    assert!(peers.contains("config/swarm/config.toml:1"), "{shown}");
}
