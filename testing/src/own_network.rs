//! A test with a network of its own: nobody else's multicast comes in, and its own goes nowhere else.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Runs `body` in a network namespace of its own, whose one interface, the loopback, also has the address
/// [`OWN_NETWORK_ADDRESS`] and takes multicast. `test` is the test's full name, as the harness prints it: the test
/// program is started again for it there.
///
/// # Panics
/// `body` does, or this machine cannot make such a namespace; the text says which.
pub fn in_own_network(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !is_root {
        command.arg("--map-root-user");
    }
    let output = command
        .args(["sh", "-c", SET_UP, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap_or_else(|error| panic!("unshare (Debian: util-linux) does not start: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains(SET_UP_IS_DONE),
        "no network namespace can be set up here: it takes root, or user namespaces, and the program ip \
         (Debian: iproute2)\n{said}"
    );
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test} in a network of its own:\n{said}"
    );
}

/// Where other machines would reach a program of such a test.
pub const OWN_NETWORK_ADDRESS: &str = "10.93.0.1";

const SET_UP: &str = "ip link set lo up multicast on && ip address add 10.93.0.1/24 dev lo && \
                      ip route add 224.0.0.0/4 dev lo && echo own network is set up && exec \"$@\"";
const SET_UP_IS_DONE: &str = "own network is set up";
/// Set in the test program that runs inside.
const INSIDE: &str = "BLOCK_TESTING_OWN_NETWORK";
