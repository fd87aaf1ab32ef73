use std::path::PathBuf;
use std::sync::LazyLock;

use serde::Deserialize;

use super::*;

mod golden;
mod hostile;

/// What the tests' script recorded.
#[derive(Debug, Deserialize)]
struct Golden {
    now: i64,
    tokens: std::collections::BTreeMap<String, (String, String)>,
    cases: std::collections::BTreeMap<String, Case>,
    renders: Vec<Render>,
    probed: Case,
    probes: Vec<Render>,
}

#[derive(Debug, Clone, Deserialize)]
struct Case {
    messages: Vec<ChatMessage>,
    tools: Option<Vec<TemplateValue>>,
    #[serde(default)]
    add_generation_prompt: bool,
    #[serde(default)]
    continue_final_message: bool,
    #[serde(default)]
    variables: std::collections::BTreeMap<String, TemplateValue>,
}

#[derive(Debug, Deserialize)]
struct Render {
    template: String,
    #[serde(default)]
    case: String,
    text: Option<String>,
    refused: Option<String>,
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let json = std::fs::read_to_string(fixtures().join("golden.json")).unwrap();
    serde_json::from_str(&json).unwrap()
});

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat_templates")
}

fn template_with(
    source: &str,
    tokens: &(String, String),
) -> Result<ChatTemplate, ChatTemplateError> {
    let tokens =
        serde_json::json!({"bos_token": tokens.0, "eos_token": tokens.1, "pad_token": "<pad>"});
    ChatTemplate::new(
        &Templates::one(source.to_owned()),
        SpecialTokens::from_json(&[&tokens]),
    )
}

impl Case {
    fn options(&self) -> RenderOptions {
        RenderOptions {
            add_generation_prompt: self.add_generation_prompt,
            continue_final_message: self.continue_final_message,
            tools: self.tools.clone(),
            variables: self.variables.clone(),
            now: Some(LocalTime {
                unix_seconds: GOLDEN.now,
                utc_offset_seconds: 0,
            }),
            ..RenderOptions::default()
        }
    }
}
