//! The unit for systemd: what it says of the program is true, and the command that installs it.
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

/// A `systemctl` on the `PATH` that notes how it is called, answers `show`, and does nothing.
struct FakeSystemctl {
    folder: PathBuf,
}

impl FakeSystemctl {
    fn new(home: &Home, exit_code: u8) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = home.path().join("bin");
        fs::create_dir_all(&folder).unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>'{}/calls'\necho 'ActiveState=active\nSubState=running\nUnitFileState=enabled\nMainPID=42'\necho 'Failed to connect to bus' >&2\nexit {exit_code}\n",
            folder.display()
        );
        fs::write(folder.join("systemctl"), script).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.join("systemctl"), mode).unwrap();
        Self { folder }
    }

    fn run(&self, home: &Home, words: &str) -> (Option<i32>, String, String) {
        let words: Vec<&str> = words.split_whitespace().collect();
        let output = home
            .command([&["service"], &words[..]].concat())
            .env("PATH", &self.folder)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        calls.lines().map(ToOwned::to_owned).collect()
    }
}

#[test]
fn it_is_installed_asked_and_removed_for_a_user() {
    let home = Home::new("block-server");
    let systemctl = FakeSystemctl::new(&home, 0);
    let path = home.path().join("config/systemd/user/block-server.service");

    // Without a model it would fail at each start.
    let (code, _, stderr) = systemctl.run(&home, "install");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("hint: block-server config set model"),
        "{stderr}"
    );
    let (code, _, stderr) = systemctl.run(&home, "status");
    assert_eq!(code, Some(66), "{stderr}");
    assert!(
        stderr.contains("hint: block-server service install\n"),
        "{stderr}"
    );
    assert_eq!(systemctl.calls(), [""; 0]);

    home.output(["config", "set", "model", "org/model"]);
    let (code, stdout, stderr) = systemctl.run(&home, "install --user");
    assert_eq!(code, Some(0), "{stderr}");
    for part in [path.to_str().unwrap(), "journalctl --user", "enable-linger"] {
        assert!(stdout.contains(part), "{part} in {stdout}");
    }
    let unit = fs::read_to_string(&path).unwrap();
    assert!(
        value(&unit, "ExecStart").ends_with("block-server"),
        "{unit}"
    );
    let (_, printed, _) = systemctl.run(&home, "install --print");
    assert_eq!(printed, unit);

    let (code, stdout, _) = systemctl.run(&home, "status");
    assert_eq!(code, Some(0));
    assert!(stdout.contains("active (running), process 42"), "{stdout}");
    let (_, json, _) = systemctl.run(&home, "status --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["enabled"], &json["pid"]), (&true.into(), &42.into()));

    let (code, _, stderr) = systemctl.run(&home, "uninstall");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!path.exists());
    let show =
        "--user show block-server.service --property=UnitFileState,ActiveState,SubState,MainPID";
    assert_eq!(
        systemctl.calls(),
        [
            "--user daemon-reload",
            "--user enable block-server.service",
            "--user restart --no-block block-server.service",
            show,
            show,
            "--user disable --now block-server.service",
            "--user daemon-reload",
        ]
    );
}

#[test]
fn the_service_runs_with_the_file_that_it_was_installed_with() {
    let home = Home::new("block-server");
    let systemctl = FakeSystemctl::new(&home, 0);
    let (code, _, stderr) = systemctl.run(&home, "install --config my.toml");
    assert_eq!(code, Some(66), "{stderr}");
    assert!(stderr.contains("config init --config "), "{stderr}");
    fs::write(home.path().join("my.toml"), "model = \"org/model\"\n").unwrap();
    // From the folder of the call to one that a unit can name.
    let file = home.path().join("my.toml").display().to_string();
    let (code, _, stderr) = systemctl.run(&home, "install --config my.toml");
    assert_eq!(code, Some(0), "{stderr}");
    let unit = fs::read_to_string(home.path().join("config/systemd/user/block-server.service"));
    let unit = unit.unwrap();
    let command = value(&unit, "ExecStart");
    assert!(
        command.ends_with(&format!("block-server --config {file}")),
        "{unit}"
    );
    let (_, status, _) = systemctl.run(&home, "status");
    assert!(
        status.contains(&format!("\nruns    {command}\n")),
        "{status}"
    );
    let (_, json, _) = systemctl.run(&home, "status --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["command"], command);
    // Nor does it read what it was not to read.
    let (_, printed, _) =
        systemctl.run(&home, "install --print --no-config-files --config my.toml");
    assert_eq!(
        value(&printed, "ExecStart"),
        format!("{command} --no-config-files")
    );
    let (code, _, stderr) = systemctl.run(&home, "install --no-config-files");
    assert_eq!(code, Some(2), "{stderr}");
    // What the machine's service could not read is not written into its unit.
    home.output(["service", "install", "--system", "--config", &file])
        .fails_with(2, &["the service cannot see ", "hint: "]);
}

#[test]
fn the_machines_unit_is_that_of_the_repository() {
    let home = Home::new("block-server");
    let printed = home.output(["service", "install", "--system", "--print"]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let (_, unit) = unit();
    let built = program("block-server").display().to_string();
    assert_eq!(
        printed.stdout,
        unit.replace("=/usr/local/bin/block-server", &format!("={built}"))
    );
}

#[test]
fn a_systemd_that_is_not_there_or_refuses_is_explained() {
    let home = Home::new("block-server");
    home.output(["config", "set", "model", "org/model"]);
    let refusing = FakeSystemctl::new(&home, 1);
    let (code, _, stderr) = refusing.run(&home, "install");
    assert_eq!(code, Some(71), "{stderr}");
    assert!(
        stderr.contains("cause: Failed to connect to bus"),
        "{stderr}"
    );
    fs::remove_file(refusing.folder.join("systemctl")).unwrap();
    let (code, _, stderr) = refusing.run(&home, "install");
    assert_eq!(code, Some(69), "{stderr}");
    for part in ["systemctl does not run", "install --print"] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
    home.output(["service", "install", "--user", "--system"])
        .fails_with(2, &["cannot be used with"]);
}
