//! What help and version print.

use block_testing::Home;

#[test]
fn help_goes_to_stdout_and_names_what_there_is() {
    let home = Home::new("swarm");
    let whole = home.output(["--help"]);
    assert_eq!((whole.code, whole.stderr.as_str()), (Some(0), ""));
    for part in [
        "run",
        "gateway",
        "map",
        "models",
        "ping",
        "bootstrap",
        "demo",
        "Examples:",
        "can recover much of it",
    ] {
        assert!(whole.stdout.contains(part), "{part} in {}", whole.stdout);
    }
    let run = home.output(["run", "--help"]);
    for part in [
        "--initial-peers",
        "[env: SWARM_INITIAL_PEERS",
        "--max-tokens",
        "[default: 128]",
        "--temperature",
        "repeatable",
        "--prompt-ids",
        "--activation-codec",
        "--no-push",
        "--metrics-listen",
    ] {
        assert!(run.stdout.contains(part), "{part} in {}", run.stdout);
    }
    let short = home.output(["run", "-h"]);
    assert!(
        !short.stdout.contains("--repair-timeout"),
        "the short help shows the common flags only"
    );
}

#[test]
fn a_token_in_the_environment_is_not_shown() {
    let home = Home::new("swarm");
    let output = home
        .command(["run", "--help"])
        .env("SWARM_TOKEN", "hf_secret")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("SWARM_TOKEN") && !text.contains("hf_secret"));
}

#[test]
fn the_version_is_one_line() {
    let output = Home::new("swarm").output(["--version"]);
    assert_eq!(output.code, Some(0));
    assert_eq!(
        output.stdout,
        format!("swarm {}\n", env!("CARGO_PKG_VERSION"))
    );
}
