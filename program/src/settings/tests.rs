//! The layers, and what is written about them, with a small program of two subcommands.

mod commands;

use std::fs;
use std::path::Path;

use clap::{Parser, Subcommand};

use super::config_command::{self, ConfigFlags, ConfigTask, SetFlags};
use super::*;

#[derive(Debug, Parser)]
#[command(name = "tool")]
struct Tool {
    /// Configuration file
    #[arg(short, long, env = "TOOL_TEST_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Log level
    #[arg(
        long,
        env = "TOOL_TEST_LOG_LEVEL",
        default_value = "info",
        global = true,
        help_heading = "Log"
    )]
    log_level: String,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Serve(Serve),
    Ask(Ask),
    Config(ConfigFlags),
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
struct Serve {
    /// Where it listens
    #[arg(long, env = "TOOL_TEST_LISTEN", default_value = "a", alias = "host")]
    listen: String,
    /// Which port
    #[arg(long, env = "TOOL_TEST_PORT", default_value_t = 1)]
    port: u16,
    /// Who is asked first
    #[arg(long, env = "TOOL_TEST_PEERS", num_args = 0.., value_delimiter = ',')]
    peers: Vec<String>,
    /// Nobody is called
    #[arg(long, env = "TOOL_TEST_OFFLINE", value_parser = clap::builder::BoolishValueParser::new())]
    offline: bool,
    /// A secret
    #[arg(long, env = "TOOL_TEST_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// More words
    #[arg(short, long, env = "TOOL_TEST_VERBOSE", action = clap::ArgAction::Count)]
    verbose: u8,
    /// What two of them cannot share
    #[arg(long, env = "TOOL_TEST_OWN", alias = "mine")]
    own: Option<String>,
    /// Not a setting
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Ask {
    /// Whom it asks, which a file may know
    #[arg(long, env = "TOOL_TEST_ASK_LISTEN", required = true)]
    listen: String,
    /// Which port
    #[arg(long, env = "TOOL_TEST_PORT", default_value_t = 1)]
    port: u16,
    /// What two of them cannot share
    #[arg(long, env = "TOOL_TEST_OWN", alias = "mine")]
    own: Option<String>,
}

const TOOL: Program = Program {
    name: "tool",
    foreign: &[
        Foreign::ignored("handlers", 1, "there is one"),
        Foreign::refused("adapters", "leave it out"),
    ],
    of_one_command: &["own"],
};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for folder in ["etc", "config"] {
            fs::create_dir(place.0.path().join(folder)).unwrap();
        }
        place
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn parse(&self, line: &str) -> Result<Parsed<Tool>, String> {
        let args = format!("tool {line}");
        let args = args.split_whitespace().map(OsString::from);
        parse::<Tool>(&TOOL, args, &self.folders()).map_err(|error| match error {
            ParseError::Clap(error) => error.to_string(),
            ParseError::Failure(failure) => format!("{} {failure}", failure.exit().code()),
        })
    }

    fn folders(&self) -> Folders {
        Folders::under(self.0.path())
    }

    fn serve(&self, line: &str) -> Serve {
        match self.parse(&format!("serve {line}")).unwrap().cli.task {
            Task::Serve(serve) => serve,
            other => panic!("{other:?}"),
        }
    }

    fn config(&self, task: ConfigTask, named: Option<&Path>) -> Result<String, String> {
        let files = FileChoice {
            named: named.map(Path::to_owned),
            ..FileChoice::default()
        };
        config_command::run(&TOOL, Tool::command(), &task, &self.folders(), files)
            .map_err(|failure| format!("{} {failure}", failure.exit().code()))
    }

    fn set(&self, key: &str, values: &[&str]) -> Result<String, String> {
        let values = values.iter().map(|&value| value.to_owned()).collect();
        let key = key.to_owned();
        self.config(ConfigTask::Set(SetFlags { key, values }), None)
    }

    fn user_file(&self) -> String {
        fs::read_to_string(self.0.path().join("config/config.toml")).unwrap()
    }
}

#[test]
fn each_layer_beats_those_below_it() {
    let place = Place::new();
    assert_eq!(
        (place.serve("").port, place.serve("").listen.as_str()),
        (1, "a")
    );
    place.write(
        "etc/config.toml",
        "port = 2\nlisten = \"etc\"\npeers = [\"x\", \"y\"]\n",
    );
    assert_eq!((place.serve("").port, place.serve("").peers.len()), (2, 2));
    place.write("config/config.toml", "port = 3\n[log]\nlevel = \"warn\"\n");
    let serve = place.serve("");
    assert_eq!((serve.port, serve.listen.as_str()), (3, "etc"));
    let named = place.write("named.toml", "port = 4\npeers = \"z\"\n");
    let named = named.display();
    let serve = place.serve(&format!("--config {named}"));
    assert_eq!((serve.port, serve.peers), (4, vec!["z".to_owned()]));
    assert_eq!(place.serve(&format!("-c {named} --port 5")).port, 5);
    let parsed = place
        .parse(&format!("serve --peers --config {named}"))
        .unwrap();
    assert_eq!(
        (parsed.files.len(), parsed.cli.log_level.as_str()),
        (3, "warn")
    );
}

#[test]
fn a_switch_of_a_file_can_be_turned_off() {
    let place = Place::new();
    place.write("config/config.toml", "offline = true\nverbose = 2\n");
    assert!(place.serve("").offline);
    assert_eq!(place.serve("").verbose, 2);
    assert!(!place.serve("--offline=false").offline);
    assert!(place.serve("--offline=true").offline);
}

#[test]
fn a_table_named_as_a_subcommand_is_for_it_alone() {
    let place = Place::new();
    place.write(
        "config/config.toml",
        "[network]\nport = 7\n[ask]\nlisten = \"b\"\nlog-level = \"debug\"\n",
    );
    let serve = place.serve("");
    assert_eq!((serve.port, serve.listen.as_str()), (7, "a"));
    let parsed = place.parse("ask").unwrap();
    assert_eq!(parsed.cli.log_level, "debug");
    let Task::Ask(ask) = parsed.cli.task else {
        panic!("ask")
    };
    assert_eq!(
        (ask.listen.as_str(), ask.port),
        ("b", 7),
        "what is required may stand in a file"
    );
    assert_eq!(place.parse("serve").unwrap().cli.log_level, "info");
}

#[test]
fn what_two_commands_cannot_share_is_set_for_one() {
    let place = Place::new();
    let file = place.write("own.toml", "[ask]\nlisten = \"b\"\nmine = \"a\"\n");
    let line = format!("serve -c {}", file.display());
    assert_eq!(place.serve(&line[6..]).own, None);
    let Task::Ask(ask) = place.parse(&line.replace("serve", "ask")).unwrap().cli.task else {
        panic!("ask")
    };
    assert_eq!(ask.own.as_deref(), Some("a"));
    for (text, written) in [
        ("mine = \"a\"\n", ":1: key mine would"),
        ("[network]\nown = \"a\"\n", ":2: key network.own would"),
    ] {
        place.write("own.toml", text);
        let error = place.parse(&line).unwrap_err();
        assert!(error.starts_with("78 error: "), "{error}");
        for part in [written, "hint: write it for one of them, as serve.own"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
    let error = place.set("own", &["a"]).unwrap_err();
    assert!(
        error.starts_with("2 error: ") && error.contains("hint: config set serve.own VALUE"),
        "{error}"
    );
    place.set("ask.own", &["a"]).unwrap();
    assert_eq!(place.user_file(), "\n[ask]\nown = \"a\"\n");
    let schema = place.config(ConfigTask::Schema, None).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let properties = &schema["properties"];
    assert!(properties["own"].is_null(), "{schema}");
    assert!(properties["network"]["properties"]["own"].is_null());
    for table in ["serve", "ask"] {
        assert!(
            properties[table]["properties"]["own"].is_object(),
            "{schema}"
        );
    }
}

#[test]
fn a_wrong_file_is_named_with_line_and_nearest_key() {
    let place = Place::new();
    for (text, expected) in [
        (
            "port = 1\nlissen = \"x\"\n",
            ":2: unknown key lissen\n  hint: did you mean listen?",
        ),
        (
            "[network]\nprot = 1\n",
            ":2: unknown key network.prot\n  hint: did you mean port?",
        ),
        (
            "zzzzzzzz = 1\n",
            ":1: unknown key zzzzzzzz\n  hint: keys are named as the flags in tool --help",
        ),
        ("[elsewhere]\nport = 1\n", ":2: unknown key elsewhere.port"),
        ("port = true\n", ":1: key port needs a string or a number"),
        ("offline = \"yes\"\n", ":1: key offline needs true or false"),
        (
            "peers = [[\"a\"]]\n",
            ":1: key peers needs a list of strings",
        ),
        (
            "port = 70000\n",
            ":1: key port has a wrong value\n  cause: invalid value '70000' for '--port <PORT>'",
        ),
        ("verbose = 9\n", ":1: key verbose has a wrong value"),
        (
            "port = 1\n[network]\nport = 2\n",
            ":3: network.port is set twice\n  cause: line 1 sets it as port",
        ),
        ("host = \"a\"\nlisten = \"b\"\n", ":2: listen is set twice"),
        ("port = = 3\n", ":1: not valid TOML"),
        ("config = \"other.toml\"\n", ":1: unknown key config"),
        ("json = true\n", ":1: unknown key json"),
        (
            "adapters = [\"a\"]\n",
            ":1: key adapters is not supported\n  hint: leave it out",
        ),
    ] {
        let file = place.write("wrong.toml", text);
        let error = place
            .parse(&format!("serve -c {}", file.display()))
            .unwrap_err();
        assert!(error.starts_with("78 error: "), "{text}: {error}");
        assert!(error.contains(expected), "{text}: {error}");
    }
    let absent = place.parse("serve -c absent.toml").unwrap_err();
    assert!(
        absent.contains("cannot read the configuration file absent.toml"),
        "{absent}"
    );
}

#[test]
fn yaml_is_read_by_its_extension_and_foreign_keys_are_told() {
    let place = Place::new();
    place.write(
        "config/config.yml",
        "host: b\npeers: [x, y]\nhandlers: 8\noffline: true\n",
    );
    let parsed = place.parse("serve --handlers=2").unwrap();
    assert_eq!(
        parsed.ignored,
        ["--handlers (there is one)", "handlers (there is one)"]
    );
    let serve = place.serve("");
    assert_eq!(
        (serve.listen.as_str(), serve.peers.len(), serve.offline),
        ("b", 2, true)
    );
    let file = place.write("wrong.yaml", "# first\nport: 1\nlissen: a\n");
    let error = place
        .parse(&format!("serve -c {}", file.display()))
        .unwrap_err();
    assert!(
        error.contains("wrong.yaml:3: unknown key lissen\n  hint: did you mean listen?"),
        "{error}"
    );
}

#[test]
fn config_works_while_the_file_is_wrong() {
    let place = Place::new();
    place.write("config/config.toml", "prot = 1\n");
    assert!(place.parse("config schema").is_ok());
    assert!(
        place
            .config(commands::SHOW, None)
            .unwrap_err()
            .starts_with("78 ")
    );
}
