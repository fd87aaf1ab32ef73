//! The page in a real browser, against a scripted gateway: its own suite, in JavaScript, run as one test.
//!
//! `scripts/page-tests` says what it needs and brings what it can.

use std::path::Path;
use std::process::Command;

/// Fewer mean that files of tests were not found.
const MIN_TESTS: usize = 60;

#[test]
fn the_page_passes_its_tests_in_a_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let run = Command::new(root.join("scripts/page-tests"))
        // Of Node's own: a test process that inherits it would report to a runner that is not there.
        .env_remove("NODE_TEST_CONTEXT")
        .env("PAGE_REPORTER", "tap")
        .env_remove("PAGE_BASE_URL")
        .output()
        .expect("bash starts the script");
    let output = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{output}\n{errors}");
    let passed = output
        .lines()
        .find_map(|line| line.strip_prefix("# pass ")?.parse::<usize>().ok())
        .unwrap_or_default();
    assert!(passed >= MIN_TESTS, "only {passed} tests:\n{output}");
}
