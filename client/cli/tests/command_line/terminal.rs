//! `swarm` with a person at a terminal.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use block_testing::Home;

/// What a terminal showed, and how the program ended.
#[derive(Debug)]
pub(crate) struct Shown {
    text: String,
    code: Option<i32>,
}

impl Shown {
    /// Asserts the exit code, and returns what was shown.
    pub(crate) fn ends_with(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.text);
        self.text
    }
}

/// Runs it in a terminal of 140 columns, which `script` provides. The second of each pair is typed once the first has
/// been shown, after all that was awaited before.
pub(crate) fn at_a_terminal(home: &Home, line: &[&str], typed: &[(&str, &str)]) -> Shown {
    let program = block_testing::program("swarm");
    let words = [&[program.to_str().unwrap()], line].concat().join(" ");
    let line = format!("stty rows 30 columns 140 && exec {words}");
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm")
        .env("HOME", home.path())
        .env("XDG_STATE_HOME", home.path().join("state"))
        .current_dir(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut shown, mut seen) = (Vec::new(), 0);
    for (awaited, text) in typed {
        let is_there = |bytes: &[u8]| bytes == awaited.as_bytes();
        seen = loop {
            let place = shown[seen..].windows(awaited.len()).position(is_there);
            if let Some(place) = place {
                break seen + place + awaited.len();
            }
            let mut more = [0; 1024];
            let count = stdout.read(&mut more).unwrap();
            let text = String::from_utf8_lossy(&shown);
            assert!(count > 0, "ended before {awaited:?}: {text}");
            shown.extend_from_slice(&more[..count]);
        };
        stdin.write_all(text.as_bytes()).unwrap();
    }
    stdout.read_to_end(&mut shown).unwrap();
    Shown {
        text: String::from_utf8_lossy(&shown).into_owned(),
        code: child.wait().unwrap().code(),
    }
}
