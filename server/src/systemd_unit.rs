//! The unit that starts a server with the machine, or with the session of a user. Pure.
//!
//! `configs/systemd/block-server.service` is the machine's, as it is. A user's has those of its lines that a user's
//! systemd can honour: no account, folders or sandbox of its own, which need root.

use std::path::Path;

/// Name of the unit.
pub(crate) const NAME: &str = "block-server.service";

const SYSTEM: &str = include_str!("../../configs/systemd/block-server.service");

/// The program in it.
const PROGRAM: &str = "/usr/local/bin/block-server";

/// Keys of it that a user's unit has, too.
const OF_USERS: [&str; 13] = [
    "Description",
    "Type",
    "ExecStart",
    "EnvironmentFile",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "Restart",
    "RestartSec",
    "RestartPreventExitStatus",
    "LimitNOFILE",
    "NoNewPrivileges",
    "UMask",
    "WantedBy",
];

/// The machine's unit for the program at `program`.
pub(crate) fn of_machine(program: &Path) -> String {
    SYSTEM.replace(&format!("ExecStart={PROGRAM}"), &exec_start(program))
}

/// A user's unit.
pub(crate) fn of_user(program: &Path) -> String {
    let mut unit = String::new();
    for line in of_machine(program).lines() {
        let is_section = line.starts_with('[');
        let key = line.split_once('=').map_or("", |(key, _)| key);
        if is_section && !unit.is_empty() {
            unit.push('\n');
        }
        if is_section || OF_USERS.contains(&key) {
            // %E: the folder of a user's settings.
            let line = line
                .replace("/etc/block-server/", "%E/block-server/")
                .replace("WantedBy=multi-user.target", "WantedBy=default.target");
            unit.push_str(&line);
            unit.push('\n');
        }
    }
    unit
}

/// Whether systemd starts a program of this name at all: it takes no quotes and backslashes in it, however they are written.
pub(crate) fn can_start(program: &Path) -> bool {
    !program.display().to_string().contains(['\'', '"', '\\'])
}

/// The line with the program, quoted as systemd.syntax(7) has it. Variables are not looked for in a program's name.
fn exec_start(program: &Path) -> String {
    let path = program.display().to_string().replace('%', "%%");
    if path.contains(char::is_whitespace) {
        format!("ExecStart=\"{path}\"")
    } else {
        format!("ExecStart={path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_repository_is_the_machines_unit() {
        assert_eq!(of_machine(Path::new(PROGRAM)), SYSTEM);
        assert!(SYSTEM.contains(&format!("\nExecStart={PROGRAM}\n")));
    }

    #[test]
    fn a_users_unit_asks_for_nothing_that_needs_root() {
        let unit = of_user(Path::new("/srv/my bin/block-server"));
        for part in [
            "[Unit]\nDescription=",
            "\n\n[Service]\nType=notify\n",
            "\nExecStart=\"/srv/my bin/block-server\"\n",
            "\nEnvironmentFile=-%E/block-server/env\n",
            "\nRestartPreventExitStatus=2 ",
            "\n\n[Install]\nWantedBy=default.target\n",
        ] {
            assert!(unit.contains(part), "{part} in {unit}");
        }
        for part in [
            "DynamicUser",
            "Protect",
            "network-online",
            "CapabilityBoundingSet",
            "/etc",
        ] {
            assert!(!unit.contains(part), "{part} in {unit}");
        }
        let all = OF_USERS
            .iter()
            .all(|key| unit.contains(&format!("\n{key}=")));
        assert!(all, "every key is one of the machine's unit: {unit}");
    }

    #[test]
    fn a_program_has_a_name_that_systemd_takes() {
        assert_eq!(exec_start(Path::new("/a/b")), "ExecStart=/a/b");
        assert_eq!(
            exec_start(Path::new("/50% $x/b")),
            "ExecStart=\"/50%% $x/b\""
        );
        assert!(can_start(Path::new("/50% $x/b")));
        for name in ["/o'brien/b", "/a\"b", "/a\\b"] {
            assert!(!can_start(Path::new(name)), "{name}");
        }
    }
}
