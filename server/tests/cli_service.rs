//! The unit for systemd: what it says of the program is true.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test ends the test"
)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use block_server::Exit;
use block_testing::{Home, PATIENCE, fable, program};

fn unit() -> (PathBuf, String) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/systemd/block-server.service");
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let found = unit
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{key}=")));
    found.unwrap_or_else(|| panic!("{key} is not in the unit"))
}

#[test]
fn it_does_not_restart_what_would_fail_again() {
    let (_, unit) = unit();
    let codes: Vec<u8> = value(&unit, "RestartPreventExitStatus")
        .split(' ')
        .map(|code| code.parse().unwrap())
        .collect();
    let hopeless = [
        Exit::Usage,
        Exit::BadData,
        Exit::NoInput,
        Exit::NoPermission,
        Exit::BadConfig,
    ];
    assert_eq!(codes, hopeless.map(Exit::code));
}

#[test]
fn systemd_finds_no_fault() {
    let (_, unit) = unit();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("block-server.service");
    let built = program("block-server").display().to_string();
    fs::write(&copy, unit.replace("/usr/local/bin/block-server", &built)).unwrap();
    // Not on every machine; what else is said of the unit is shown by the other tests.
    let Ok(output) = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&copy)
        .output()
    else {
        return;
    };
    let said = String::from_utf8(output.stderr).unwrap();
    let about_it = said
        .lines()
        .find(|line| line.contains("block-server.service"));
    assert!(output.status.success() && about_it.is_none(), "{said}");
}

#[test]
fn the_manager_is_told_when_it_serves_and_when_it_stops() {
    let (_, unit) = unit();
    assert_eq!(value(&unit, "Type"), "notify");
    let home = Home::new("block-server");
    let socket = UnixDatagram::bind(home.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let model = fable();
    let words = [
        model.to_str().unwrap(),
        "--blocks=0:1",
        "--throughput=1",
        "--listen-maddr=/ip4/127.0.0.1/tcp/0",
    ];
    let mut command = home.command(words);
    command.env("NOTIFY_SOCKET", home.path().join("notify"));
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let heard = || {
        let mut text = [0; 64];
        let length = socket.recv(&mut text)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&text[..length]).into_owned())
    };
    let ready = heard();
    let stopped = Command::new("kill").arg(child.id().to_string()).status();
    let stopping = heard();
    if stopping.is_err() {
        child.kill().unwrap();
    }
    assert!(child.wait().unwrap().success());
    assert!(stopped.unwrap().success());
    assert_eq!(
        (ready.unwrap().as_str(), stopping.unwrap().as_str()),
        ("READY=1", "STOPPING=1")
    );
}
