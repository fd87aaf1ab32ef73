//! `swarm map`, `models` and `ping`: what they show of a small swarm.

use block_testing::{Home, fable};
use serde_json::Value;

use crate::terminal::at_a_terminal;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_map_shows_servers_gaps_and_what_would_fill_them() {
    let home = Home::new("swarm");
    let server = home.serve(&["--blocks", "0:5", "--public-name", "alice"]);
    let model = fable();
    let map = [
        "map",
        model.to_str().unwrap(),
        "--initial-peers",
        &server.address,
    ];
    let table = home.output(map);
    assert_eq!((table.code, table.stderr.as_str()), (Some(0), ""));
    for part in [
        "BROKEN",
        "5 of 8",
        "0:5",
        "█████···",
        "online",
        "--blocks 5:8",
    ] {
        assert!(table.stdout.contains(part), "{part} in {}", table.stdout);
    }

    let _second = home.serve(&[
        "--blocks",
        "4:8",
        "--public-name",
        "bob",
        "--initial-peers",
        &server.address,
        "--identity",
        "second.key",
    ]);
    let whole = home.output([&map[..], &["--json"]].concat());
    is_whole_map(&json(&whole.stdout));

    // The list of models names it, and that name is enough for a map.
    let models = home.output(["models", "--json", "--initial-peers", &server.address]);
    let models = json(&models.stdout);
    assert_eq!(models["models"][0]["dht_prefix"], "fable-7m-hf");
    assert_eq!(models["models"][0]["state"], "healthy");
    let by_prefix = home.output(["map", "fable-7m-hf", "--initial-peers", &server.address]);
    assert!(by_prefix.stdout.contains("healthy"), "{}", by_prefix.stderr);
    home.output(["map", "org/other", "--initial-peers", &server.address])
        .fails_with(
            66,
            &[
                "no model org/other",
                "the swarm lists: fable-7m-hf",
                "hint:",
            ],
        );
}

#[test]
fn a_map_that_is_watched_leaves_the_terminal_as_it_was() {
    let home = Home::new("swarm");
    let server = home.serve(&["--public-name", "alice"]);
    let model = fable();
    let line = [
        "map",
        model.to_str().unwrap(),
        "--initial-peers",
        &server.address,
        "--watch",
    ];
    for (key, code) in [("q", 0), ("\u{3}", 130)] {
        let shown = at_a_terminal(&home, &line, &[("healthy", ""), ("alice", key)]);
        let shown = shown.ends_with(code);
        let (begin, end) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
        assert!(shown.contains(begin), "{shown}");
        assert!(shown.contains("11111111"), "{shown}");
        let after = shown.rsplit_once(end).expect("the screen is given back").1;
        assert!(!after.contains("alice"), "{shown}");
    }
    home.output(line)
        .fails_with(2, &["--watch needs a terminal", "hint:"]);
    home.output([&line[..], &["--json"]].concat())
        .fails_with(2, &["--watch", "--json"]);
}

/// Alice and Bob serve all blocks.
fn is_whole_map(whole: &Value) {
    assert_eq!(whole["dht_prefix"], "fable-7m-hf");
    assert_eq!(whole["state"], "healthy");
    assert_eq!(
        (&whole["num_blocks"], &whole["covered"]),
        (&8.into(), &8.into())
    );
    assert_eq!(whole["missing"], serde_json::json!([]));
    assert!(whole["bottleneck"]["inference"].is_number());
    let bob = whole["servers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|server| server["public_name"] == "bob")
        .unwrap();
    assert_eq!(
        (&bob["start_block"], &bob["end_block"]),
        (&4.into(), &8.into())
    );
    assert_eq!(
        (&bob["state"], &bob["health"]),
        (&"online".into(), &"green".into())
    );
    assert!(
        bob["codecs"]
            .as_array()
            .unwrap()
            .contains(&"blockwise8".into()),
        "{bob}"
    );
    assert!(
        bob["addresses"][0]
            .as_str()
            .unwrap()
            .starts_with("/ip4/127.0.0.1/tcp/")
    );
    assert!(bob["rtt_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn peers_are_listed_with_the_way_to_each() {
    let home = Home::new("swarm");
    let server = home.serve(&["--blocks", "0:5", "--public-name", "alice"]);
    let peer = server.address.rsplit('/').next().unwrap();
    let model = fable();
    for named in [&[][..], &[model.to_str().unwrap()], &["fable-7m-hf"]] {
        let swarm = ["--initial-peers", &server.address];
        let table = home.output([&["peers"], named, &swarm].concat());
        assert_eq!(table.code, Some(0), "{}", table.stderr);
        for part in [peer, "alice", "block-server/", "0:5", "online", " ms"] {
            assert!(table.stdout.contains(part), "{part} in {}", table.stdout);
        }
        let list = home.output([&["peers", "--json"], named, &swarm].concat());
        let list = json(&list.stdout);
        let row = &list["peers"][0];
        assert_eq!(
            (&row["peer_id"], &row["state"]),
            (&peer.into(), &"online".into())
        );
        assert!(row["rtt_ms"].as_f64().unwrap() > 0.0);
        assert!(list["peers"].as_array().unwrap().len() == 1);
    }
    home.output(["peers", "org/other", "--initial-peers", &server.address])
        .fails_with(66, &["no model org/other", "hint:"]);
}

#[test]
fn a_ping_tells_the_way_and_the_program() {
    let home = Home::new("swarm");
    let server = home.serve(&[]);
    let report = home.output(["ping", &server.address, "--json", "--count", "2"]);
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    let report = json(&report.stdout);
    assert_eq!(report["rtt_ms"].as_array().unwrap().len(), 2);
    assert!(report["rtt_ms"][0].as_f64().unwrap() > 0.0);
    assert_eq!(report["path"], "direct");
    assert!(
        report["implementation"]
            .as_str()
            .unwrap()
            .starts_with("block-server/")
    );

    let peer = server.address.rsplit('/').next().unwrap();
    let by_id = home.output(["ping", peer, "--initial-peers", &server.address]);
    assert_eq!(by_id.code, Some(0), "{}", by_id.stderr);
    for part in ["ping 3: ", "program  block-server/", "path     direct"] {
        assert!(by_id.stdout.contains(part), "{part} in {}", by_id.stdout);
    }
}
