//! `swarm bootstrap` as a process.

use block_testing::Home;

use crate::process::Running;

const LOOPBACK: [&str; 3] = ["bootstrap", "--listen", "/ip4/127.0.0.1/tcp/0"];

fn ready(home: &Home, more: &[&str]) -> (Running, String) {
    let mut node = Running::start(home.command([&LOOPBACK[..], more].concat()));
    let line = node.line();
    let address = line.strip_prefix("READY ").unwrap().to_owned();
    (node, address)
}

#[test]
fn others_join_through_it_and_sigterm_ends_it() {
    let home = Home::new("swarm");
    let (first, address) = ready(&home, &[]);
    let (second, _) = ready(
        &home,
        &["--initial-peers", &address, "--identity", "second"],
    );
    let models = home.output(["models", "--initial-peers", &address]);
    assert_eq!(
        models.stdout, "the swarm lists no model\n",
        "{}",
        models.stderr
    );
    for node in [second, first] {
        node.signal("TERM");
        let ended = node.end();
        assert_eq!(
            (ended.code, ended.rest.as_str()),
            (Some(0), ""),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn its_identity_stays_and_belongs_to_one_process() {
    let home = Home::new("swarm");
    let (node, address) = ready(&home, &[]);
    home.output(LOOPBACK)
        .fails_with(75, &["another process uses the identity", "hint:"]);
    node.signal("INT");
    node.end();
    let (_again, again) = ready(&home, &[]);
    let peer = |address: &str| address.rsplit('/').next().unwrap().to_owned();
    assert_eq!(peer(&address), peer(&again));
    assert!(home.path().join("state/swarm/identity.key").exists());
}
