//! `config show`, `init`, `set` and `schema`.

use clap::CommandFactory;

use super::super::config_command::{ConfigTask, InitFlags, ShowFlags};
use super::super::keys::Keys;
use super::super::layers::Layers;
use super::super::{FileChoice, show};
use super::{Place, TOOL, Tool};

pub(super) const SHOW: ConfigTask = ConfigTask::Show(ShowFlags {
    origin: true,
    json: false,
});

#[test]
fn show_says_where_each_value_comes_from() {
    let place = Place::new();
    place.write("etc/config.toml", "port = 2\n");
    let file = place.write(
        "config/config.toml",
        "# mine\ntoken = \"hidden words\"\npeers = \"x\"\n[serve]\nlisten = \"s\"\n",
    );
    let text = place.config(SHOW, None).unwrap();
    let has = |key: &str, origin: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        let line = line.unwrap_or_else(|| panic!("{key} in {text}"));
        assert!(line.ends_with(&format!("  # {origin}")), "{line}");
    };
    let mine = file.display();
    has(
        "port = 2 ",
        &format!("{}:1", place.0.path().join("etc/config.toml").display()),
    );
    has("token = \"(hidden)\"", &format!("{mine}:2"));
    has("peers = [\"x\"]", &format!("{mine}:3"));
    has("serve.listen = \"s\"", &format!("{mine}:5"));
    has("# ask.listen = …", "default");
    has("offline = false", "default");
    assert!(!text.contains("hidden words"));

    let json = ConfigTask::Show(ShowFlags {
        origin: false,
        json: true,
    });
    let json: serde_json::Value = serde_json::from_str(&place.config(json, None).unwrap()).unwrap();
    assert_eq!(json["port"]["value"], 2);
    assert_eq!(json["peers"]["line"], 3);
    assert_eq!(json["ask.listen"]["value"], serde_json::Value::Null);
    assert_eq!(json["offline"]["value"], false);
}

#[test]
fn the_environment_is_shown_and_checked() {
    let place = Place::new();
    let keys = Keys::of(&Tool::command(), &TOOL);
    let layers = Layers::read(&place.folders(), FileChoice::default(), &keys).unwrap();
    let set = |name: &str| (name == "TOOL_TEST_PEERS").then(|| "a,b".to_owned());
    let text = show::text(&show::rows(&keys, &layers, &set).unwrap(), true);
    assert!(text.contains("peers = [\"a\", \"b\"]"), "{text}");
    assert!(text.contains("# environment TOOL_TEST_PEERS"), "{text}");
    let wrong = |name: &str| (name == "TOOL_TEST_PORT").then(|| "many".to_owned());
    let failure = show::rows(&keys, &layers, &wrong).err().unwrap();
    assert_eq!(failure.exit().code(), 2);
    assert!(
        failure
            .to_string()
            .contains("TOOL_TEST_PORT has a wrong value"),
        "{failure}"
    );
}

#[test]
fn set_changes_one_key_and_leaves_the_rest() {
    let place = Place::new();
    let said = place.set("port", &["9"]).unwrap();
    assert!(said.ends_with("config.toml: port = 9"), "{said}");
    place.set("peers", &["a", "b,c"]).unwrap();
    place.set("offline", &["yes"]).unwrap();
    place.set("ask.listen", &["x y"]).unwrap();
    assert_eq!(
        place.user_file(),
        "port = 9\npeers = [\"a\", \"b\", \"c\"]\noffline = true\n\n[ask]\nlisten = \"x y\"\n"
    );
    place.write(
        "config/config.toml",
        "# first\nport = 9 # of old\n\n[network]\npeers = []\n",
    );
    place.set("port", &["10"]).unwrap();
    place.set("peers", &["a"]).unwrap();
    place.set("listen", &["b"]).unwrap();
    assert_eq!(
        place.user_file(),
        "# first\nport = 10 # of old\n\nlisten = \"b\"\n[network]\npeers = [\"a\"]\n"
    );
}

#[test]
fn set_refuses_what_no_start_would_take() {
    let place = Place::new();
    for (key, values, expected) in [
        ("prot", &["1"][..], "did you mean port?"),
        ("port", &["many"], "key port cannot be many"),
        ("port", &["1", "2"], "it has one value"),
        ("offline", &["perhaps"], "expected true or false"),
        ("elsewhere.port", &["1"], "there is no key elsewhere.port"),
        ("config", &["x"], "there is no key config"),
    ] {
        let error = place.set(key, values).unwrap_err();
        assert!(
            error.starts_with("2 error: ") && error.contains(expected),
            "{error}"
        );
    }
    assert!(!place.0.path().join("config/config.toml").exists());
    place.write("config/config.yml", "port: 1\n");
    assert!(place.set("port", &["2"]).unwrap_err().contains("YAML"));
}

#[test]
fn init_writes_every_key_once_and_never_over_a_file() {
    let place = Place::new();
    let init = |force| place.config(ConfigTask::Init(InitFlags { force }), None);
    init(false).unwrap();
    let text = place.user_file();
    assert!(text.contains("\n# Which port\n# port = 1\n"), "{text}");
    assert!(text.contains("\n[ask]\n\n# Whom it asks"), "{text}");
    assert!(place.parse("serve").is_ok(), "comments set nothing");
    assert!(init(false).unwrap_err().contains("--force"));
    init(true).unwrap();
    let uncommented: String = text
        .lines()
        .filter(|line| !line.starts_with("# ") || line.contains(" = ") && !line.ends_with('…'))
        .map(|line| format!("{}\n", line.trim_start_matches("# ")))
        .collect();
    let all = place.write("all.toml", &uncommented);
    place.parse(&format!("serve -c {}", all.display())).unwrap();
}

#[test]
fn the_schema_knows_keys_groups_and_subcommands() {
    let place = Place::new();
    let schema = place.config(ConfigTask::Schema, None).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let properties = &schema["properties"];
    assert_eq!(properties["offline"]["type"], "boolean");
    assert_eq!(properties["port"]["default"], 1);
    assert_eq!(
        properties["network"]["properties"]["peers"]["anyOf"][1]["type"],
        "array"
    );
    assert_eq!(properties["log"]["properties"]["level"]["default"], "info");
    assert!(properties["ask"]["properties"]["listen"].is_object());
    assert!(properties["config"].is_null() && properties["json"].is_null());
}
