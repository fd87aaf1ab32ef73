//! Texts that people and scripts read, kept as files: a change of one is seen in review.
//!
//! `SNAPSHOTS=overwrite cargo test …` writes them anew.

use std::path::PathBuf;

use serde_json::{Map, Value};
use snapbox::{Assert, Data};

use crate::home::{Finished, Home};

/// The golden files of one crate, in its folder `tests/golden`.
#[derive(Debug)]
pub struct Golden {
    folder: PathBuf,
}

impl Golden {
    /// Those of the crate whose `CARGO_MANIFEST_DIR` this is.
    pub fn of_crate(manifest: &str) -> Self {
        Self {
            folder: PathBuf::from(manifest).join("tests/golden"),
        }
    }

    /// Compares `text` with the file `name`.
    pub fn check(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        let expected = Data::read_from(&path, None);
        let ended = format!("{}\n", text.trim_end());
        Assert::new().action_env("SNAPSHOTS").eq(ended, expected);
    }

    /// Compares the `--help` of the program of `home` and of each of its subcommands, and the short one of `-h`.
    pub fn check_help(&self, home: &Home) {
        let mut commands = vec![Vec::new()];
        while let Some(words) = commands.pop() {
            let asked = words.iter().map(String::as_str).chain(["--help"]);
            let long = home.output(asked);
            assert_eq!(
                (long.code, long.stderr.as_str()),
                (Some(0), ""),
                "{words:?}"
            );
            let name = std::iter::once("help").chain(words.iter().map(String::as_str));
            let name = name.collect::<Vec<_>>().join("-");
            self.check(&format!("{name}.txt"), &long.stdout);
            if words.is_empty() {
                self.check("help-short.txt", &home.output(["-h"]).stdout);
            }
            for inner in listed_commands(&long.stdout) {
                let mut words = words.clone();
                words.push(inner);
                commands.push(words);
            }
        }
    }

    /// Compares an error: exit code and text, with what differs between runs left out.
    pub fn check_error(&self, name: &str, home: &Home, finished: &Finished) {
        assert_eq!(finished.stdout, "", "stdout of a failure is empty");
        let place = home.path().display().to_string();
        // Before it stand log lines with times.
        let at = finished.stderr.find("error: ").unwrap_or_default();
        let text = finished.stderr[at..].replace(&place, "HOME");
        let code = finished.code.unwrap_or(-1);
        self.check(
            &format!("error-{name}.txt"),
            &format!("exit {code}\n{text}"),
        );
    }

    /// Compares the shape of a JSON text: its keys, and of each value the kind.
    pub fn check_shape(&self, name: &str, json: &str) {
        let value: Value =
            serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
        self.check(
            &format!("shape-{name}.json"),
            &format!("{:#}", shape(&value)),
        );
    }
}

/// The subcommands that a help text lists.
fn listed_commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // Wrapped explanations stand further to the right.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .map(ToOwned::to_owned)
        .collect()
}

fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(items) => items.first().map(shape).into_iter().collect(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| (key.clone(), shape(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}
