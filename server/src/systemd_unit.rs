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

/// The key of the line that runs it.
const EXEC_START: &str = "ExecStart";

/// Keys of it that a user's unit has, too.
const OF_USERS: [&str; 13] = [
    "Description",
    "Type",
    EXEC_START,
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

/// What a unit runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// The file of its `--config`, from the root.
    pub(crate) config: Option<&'a str>,
    /// Whether it reads no other (`--no-config-files`).
    pub(crate) only_config: bool,
}

/// The machine's unit.
pub(crate) fn of_machine(start: Start<'_>) -> String {
    SYSTEM.replace(&format!("ExecStart={PROGRAM}"), &exec_start(start))
}

/// A user's unit.
pub(crate) fn of_user(start: Start<'_>) -> String {
    let mut unit = String::new();
    for line in of_machine(start).lines() {
        let is_section = line.starts_with('[');
        let key = line.split_once('=').map_or("", |(key, _)| key);
        if is_section && !unit.is_empty() {
            unit.push('\n');
        }
        if key == EXEC_START {
            unit.push_str(line);
            unit.push('\n');
        } else if is_section || OF_USERS.contains(&key) {
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

/// What a unit that was written says it runs, as it stands there.
pub(crate) fn command(unit: &str) -> Option<&str> {
    let mut pairs = unit.lines().filter_map(|line| line.split_once('='));
    pairs
        .find(|(key, _)| *key == EXEC_START)
        .map(|(_, command)| command)
}

/// Whether systemd starts a program of this name at all: it takes no quotes and backslashes in it, however they are written.
pub(crate) fn can_start(program: &Path) -> bool {
    !program.display().to_string().contains(['\'', '"', '\\'])
}

/// The line with the program, quoted as systemd.syntax(7) has it. Variables are not looked for in a program's name.
fn exec_start(start: Start<'_>) -> String {
    let path = start.program.display().to_string().replace('%', "%%");
    let program = if path.contains(char::is_whitespace) {
        format!("\"{path}\"")
    } else {
        path
    };
    let config = start
        .config
        .map(|file| format!(" --config {}", quoted(file)));
    let config = config.unwrap_or_default();
    let only = if start.only_config {
        " --no-config-files"
    } else {
        ""
    };
    format!("{EXEC_START}={program}{config}{only}")
}

/// An argument after the program.
fn quoted(argument: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@:,".contains(&byte);
    if argument.bytes().all(is_plain) {
        return argument.to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in argument.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '$' | '%' => quoted.extend([letter, letter]),
            _ if letter.is_ascii_control() => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(letter)));
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start<'a>(program: &'a str, config: Option<&'a str>) -> Start<'a> {
        let program = Path::new(program);
        Start {
            program,
            config,
            only_config: false,
        }
    }

    #[test]
    fn the_file_in_the_repository_is_the_machines_unit() {
        assert_eq!(of_machine(start(PROGRAM, None)), SYSTEM);
        assert_eq!(command(SYSTEM), Some(PROGRAM));
        assert!(SYSTEM.contains(&format!("\nExecStart={PROGRAM}\n")));
    }

    #[test]
    fn a_users_unit_asks_for_nothing_that_needs_root() {
        let unit = of_user(start("/srv/my bin/block-server", None));
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
        assert_eq!(exec_start(start("/a/b", None)), "ExecStart=/a/b");
        assert_eq!(
            exec_start(start("/50% $x/b", None)),
            "ExecStart=\"/50%% $x/b\""
        );
        assert!(can_start(Path::new("/50% $x/b")));
        for name in ["/o'brien/b", "/a\"b", "/a\\b"] {
            assert!(!can_start(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn a_file_of_settings_is_named_so_that_systemd_passes_on_the_same() {
        for (file, written) in [
            ("/etc/block-server/a.toml", "/etc/block-server/a.toml"),
            ("/a b/50%.toml", "\"/a b/50%%.toml\""),
            ("/$HOME/o'b.toml", "\"/$$HOME/o'b.toml\""),
            ("/a\"b\\c\n", "\"/a\\\"b\\\\c\\x0a\""),
        ] {
            // The folder of the machine's settings stays that where it is a user's unit that names it.
            for unit in [of_machine, of_user] {
                let unit = unit(start("/a/b", Some(file)));
                let expected = format!("/a/b --config {written}");
                assert_eq!(command(&unit), Some(expected.as_str()), "{unit}");
            }
        }
    }
}
