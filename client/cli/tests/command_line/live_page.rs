//! The page in a real browser, over real servers and a gateway as processes, one of which is killed.

use std::process::Command;

use block_testing::home::Server;
use block_testing::{Home, repository};

use crate::gateway;

/// So long that a server can be killed in the middle of an answer, and so short that the browser's patience outlasts it.
const LONG_TOKENS: &str = "90";

/// A server of the blocks that takes `delay` seconds for each, as one of a larger model would.
fn slow_server(home: &Home, blocks: &str, delay: &str, way_in: &[&str]) -> Server {
    let identity = home
        .path()
        .join(format!("{}-{delay}.key", blocks.replace(':', "-")));
    let flags = [
        "--blocks",
        blocks,
        "--block-delay",
        delay,
        "--identity",
        identity.to_str().unwrap(),
        "--update-period",
        "5",
    ];
    home.serve(&[&flags[..], way_in].concat())
}

#[test]
fn a_killed_server_leaves_the_map_and_the_answer_goes_on_with_the_same_words() {
    let home = Home::new("swarm");
    // Whoever holds the second half, it begins at the same block: where hidden states are rounded is part of the text.
    let first = slow_server(&home, "0:4", "0.010", &[]);
    let way_in = ["--initial-peers", first.address.as_str()];
    let quick = slow_server(&home, "4:8", "0.005", &way_in);
    let _spare = slow_server(&home, "4:8", "0.030", &way_in);

    let (_gateway, address) = gateway::ready(&home, &first.address, &["--topology-addresses"]);

    let run = Command::new(repository().join("scripts/page-tests"))
        .arg("gateway.test.mjs")
        // Of Node's own: a test process that inherits it would report to a runner that is not there.
        .env_remove("NODE_TEST_CONTEXT")
        .env_remove("PAGE_API_KEY")
        .env("PAGE_REPORTER", "tap")
        .env("PAGE_BASE_URL", format!("http://{address}/"))
        .env("PAGE_LONG_TOKENS", LONG_TOKENS)
        .env("PAGE_KILL_PID", quick.pid().to_string())
        .output()
        .expect("bash starts the script");
    let output = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{output}\n{errors}");
    assert!(output.contains("# pass 4\n"), "{output}");
    assert!(
        output.contains("is off the map within 5 s, and the answer goes on"),
        "{output}"
    );
    // It was killed by the browser's test, and by nobody before.
    assert_eq!(quick.wait().code, None);
}
