//! A server that answers only whom its operator trusts, and clients that can be told apart.

use block_testing::{Home, fable};
use serde_json::Value;

#[test]
fn a_client_with_a_trusted_identity_is_answered_and_others_read_whom_to_ask() {
    let home = Home::new("swarm");
    let key = home.path().join("me.key");
    let key = key.to_str().unwrap();
    let made = ["identity", "new", "--identity", key, "--json"];
    let made = home.command_of("block-server", made).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let own = made["peer_id"].as_str().unwrap();
    let server = home.serve(&["--trusted-peers", own]);

    let model = fable();
    let ask = [
        "run",
        model.to_str().unwrap(),
        "Once upon a time",
        "--max-tokens=4",
        "--open-timeout=3",
        "--initial-peers",
        &server.address,
    ];
    let known = home.output([&ask[..], &["--identity", key]].concat());
    assert_eq!(known.code, Some(0), "{}", known.stderr);
    // The records are everybody's to read; the blocks are not to be used.
    let models = home.output(["models", "--initial-peers", &server.address]);
    assert!(models.stdout.contains("fable-7m-hf"), "{}", models.stderr);
    let unknown = home.output(ask);
    assert_eq!(unknown.code, Some(69), "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("--trusted-peers"),
        "{}",
        unknown.stderr
    );
}
