//! `--lan`: servers and clients that find each other by mDNS, as processes in a network of their own.

use std::time::Instant;

use block_testing::{Home, OWN_NETWORK_ADDRESS, PATIENCE, admin_get, fable, in_own_network};
use serde_json::Value;

use crate::process::Running;

/// mDNS as `/proc/net/udp` writes its port.
const MDNS_PORT: &str = ":14E9 ";

/// Open to the network beside the loopback address that tests use.
const OPEN: [&str; 3] = ["--lan", "--listen-maddr", "/ip4/0.0.0.0/tcp/0"];

fn listens_to_mdns() -> bool {
    std::fs::read_to_string("/proc/net/udp")
        .unwrap()
        .contains(MDNS_PORT)
}

fn json(home: &Home, words: &[&str]) -> Value {
    let finished = home.output(words.iter().copied());
    assert_eq!(finished.code, Some(0), "{words:?}: {}", finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

fn servers(home: &Home) -> usize {
    let model = fable();
    let map = json(home, &["map", model.to_str().unwrap(), "--lan", "--json"]);
    map["servers"].as_array().unwrap().len()
}

/// The commands for the next machine and for a client, as a server logs them.
fn assert_names_no_address(told: &str) {
    for command in ["block-server", "swarm run"] {
        let hint = format!("hint={command} ");
        let line = told.lines().find(|line| line.contains(&hint));
        let names_no_address = line.is_some_and(|line| line.ends_with(" --lan"));
        assert!(names_no_address, "{command} in {told}");
    }
}

#[test]
fn machines_of_a_local_network_join_each_other_without_an_address() {
    in_own_network(
        "lan::machines_of_a_local_network_join_each_other_without_an_address",
        || {
            let (home, other_home) = (Home::new("swarm"), Home::new("swarm"));
            home.output(["models", "--lan", "--join-timeout", "1"])
                .fails_with(
                    69,
                    &[
                        "error: no server was found on the local network within 1 s",
                        "cause: nobody on this network answered mDNS",
                        "hint: start one with block-server --model M --lan",
                    ],
                );
            let first = home.serve(&[&OPEN[..], &["--blocks", "0:4"]].concat());
            assert!(
                first
                    .address
                    .starts_with(&format!("/ip4/{OWN_NETWORK_ADDRESS}/tcp/")),
                "{}",
                first.address
            );
            // Without --blocks it goes where blocks are missing: it has seen the first.
            let second = other_home.serve(&[&OPEN[..], &["--num_blocks", "4"]].concat());

            let model = fable();
            let model = model.to_str().unwrap();
            let answer = json(
                &home,
                &[
                    "run",
                    model,
                    "Once upon a time",
                    "--lan",
                    "--max-tokens=8",
                    "--json",
                ],
            );
            assert_eq!(
                answer["route"].as_array().map(Vec::len),
                Some(2),
                "{answer}"
            );
            let map = json(&home, &["map", model, "--lan", "--json"]);
            assert_eq!(
                (&map["covered"], &map["num_blocks"]),
                (&8.into(), &8.into())
            );
            // Whoever is found has the rest of the time to answer, however short that is.
            let models = home.output(["models", "--lan", "--join-timeout", "5"]);
            assert!(models.stdout.contains("fable-7m-hf"), "{}", models.stderr);
            let peer = second.address.rsplit('/').next().unwrap();
            let ping = json(&home, &["ping", peer, "--lan", "--json", "--count=1"]);
            assert_eq!(ping["peer_id"], peer);

            let stopped = |server: block_testing::home::Server| {
                server.signal("TERM");
                server.wait().stderr
            };
            let told = stopped(first);
            assert!(told.contains("this node starts its swarm"), "{told}");
            let told = stopped(second);
            assert!(
                told.contains("joined the swarm of the local network"),
                "{told}"
            );
            assert_names_no_address(&told);
        },
    );
}

#[test]
fn a_gateway_tells_whom_of_the_local_network_it_joined_by() {
    in_own_network(
        "lan::a_gateway_tells_whom_of_the_local_network_it_joined_by",
        || {
            let home = Home::new("swarm");
            let server = home.serve(&OPEN);
            let model = fable();
            let model = model.to_str().unwrap();
            let gateway =
                home.command(["gateway", "--model", model, "--listen=127.0.0.1:0", "--lan"]);
            let mut gateway = Running::start(gateway);
            let line = gateway.line();
            let url = line.strip_prefix("READY http://").unwrap();
            let (_, topology) = admin_get(url, "/v1/system/topology");
            let topology: Value = serde_json::from_str(&topology).unwrap();
            // Without --topology-addresses it is the peer id that is told.
            let (_, peer) = server.address.split_once("/p2p/").unwrap();
            let named = format!("/p2p/{peer}");
            assert_eq!(topology["bootstrap"][0]["address"], named, "{topology}");
            assert_eq!(topology["bootstrap"][0]["state"], "online", "{topology}");
        },
    );
}

#[test]
fn two_first_servers_of_a_network_become_one_swarm() {
    in_own_network(
        "lan::two_first_servers_of_a_network_become_one_swarm",
        || {
            let homes = [Home::new("swarm"), Home::new("swarm")];
            let started = std::thread::scope(|scope| {
                let starting = homes
                    .each_ref()
                    .map(|home| scope.spawn(|| home.serve(&OPEN)));
                starting.map(|started| started.join().unwrap())
            });
            let began = Instant::now();
            while servers(&homes[0]) < started.len() {
                assert!(began.elapsed() < PATIENCE, "they stay two swarms");
            }
        },
    );
}

#[test]
fn nobody_listens_to_the_local_network_unless_asked_to() {
    in_own_network(
        "lan::nobody_listens_to_the_local_network_unless_asked_to",
        || {
            let homes = [Home::new("swarm"), Home::new("swarm")];
            let quiet = homes[0].serve(&["--listen-maddr", "/ip4/0.0.0.0/tcp/0"]);
            let model = fable();
            let words = ["map", model.to_str().unwrap(), "--json", "--initial-peers"];
            json(&homes[0], &[&words[..], &[&quiet.address]].concat());
            assert!(!listens_to_mdns());
            homes[0]
                .output(["models", "--lan", "--join-timeout", "2"])
                .fails_with(69, &["no server was found on the local network"]);
            let _open = homes[1].serve(&OPEN);
            assert!(listens_to_mdns());
            assert_eq!(servers(&homes[0]), 1, "the quiet one is not joined");
        },
    );
}
