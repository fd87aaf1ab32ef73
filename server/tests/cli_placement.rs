//! Servers that find their place: at the start, and again when the swarm changes.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::time::Instant;

use block_client::{GenerateConfig, ModelOptions, SessionConfig, Swarm, SwarmConfig};
use block_model::ModelSource;
use block_testing::{Home, PATIENCE, admin_get, fable};
use serde_json::{Value, json};

/// State and first block, as the admin port says them.
fn place(admin_address: &str) -> (Value, Value) {
    let status: Value = serde_json::from_str(&admin_get(admin_address, "/status").1).unwrap();
    (status["state"].clone(), status["start_block"].clone())
}

#[test]
fn a_server_takes_the_blocks_that_nobody_has() {
    let first_home = Home::new("block-server");
    let first = first_home.serve(&["--blocks", "0:5"]);
    let second_home = Home::new("block-server");
    let second = second_home.serve(&["--num_blocks", "3", "--initial-peers", &first.address]);
    assert_eq!(place(&second.admin_address), (json!("online"), json!(5)));
    second.signal("TERM");
    let end = second.wait();
    assert!(
        end.stderr.contains("start_block=5 end_block=8") && end.stderr.contains("covered_blocks=8"),
        "{}",
        end.stderr
    );
}

#[test]
fn a_server_moves_to_blocks_that_have_lost_their_last_one() {
    let homes = [(); 3].map(|()| Home::new("block-server"));
    let first = homes[0].serve(&["--blocks", "0:4"]);
    let join = ["--initial-peers", &first.address];
    let last = homes[1].serve(&[&["--blocks", "4:8"][..], &join].concat());
    // Both halves have one server each: of equals the first is chosen.
    let often = ["--blocks", "4", "--mean-balance-check-period", "1"];
    let mover = homes[2].serve(&[&often[..], &join].concat());
    assert_eq!(place(&mover.admin_address), (json!("online"), json!(0)));

    last.signal("TERM");
    assert_eq!(last.wait().code, Some(0));
    let deadline = Instant::now() + PATIENCE;
    while place(&mover.admin_address) != (json!("online"), json!(4)) {
        assert!(Instant::now() < deadline, "the server does not move");
    }
    generate_through(&first.address);
    assert_eq!(admin_get(&mover.admin_address, "/health/ready").0, 200);

    mover.signal("TERM");
    let end = mover.wait();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert_eq!(end.stdout, "", "READY is said once");
    for part in [
        "other blocks need this server more, it moves",
        "start_block=4 end_block=8",
    ] {
        assert!(end.stderr.contains(part), "{part:?} in {}", end.stderr);
    }
}

/// Some tokens through every block of the model, or a panic.
fn generate_through(address: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let swarm = Swarm::join(SwarmConfig::new(vec![address.parse().unwrap()]));
        let swarm = swarm.await.unwrap();
        let source = ModelSource::directory(fable()).unwrap();
        let model = swarm.load(source, ModelOptions::default()).await.unwrap();
        let mut session = model.session(SessionConfig::new(64)).await.unwrap();
        let mut answer = session
            .generate("Once upon a time", GenerateConfig::new(8))
            .unwrap();
        let mut tokens = 0;
        while let Some(token) = answer.next().await {
            token.unwrap();
            tokens += 1;
        }
        assert_eq!(tokens, 8);
    });
}
