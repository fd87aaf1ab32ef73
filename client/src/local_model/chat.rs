//! The chat template among a model's files.

use std::path::Path;

use block_model::ModelSource;
use serde_json::Value as Json;

use super::LocalModelError;
use super::small_files::{optional_json, optional_path, read_text};
use crate::chat_template::{ChatTemplate, ChatTemplateError, SpecialTokens, Templates};

/// Finds and reads the template. What is wrong with it matters only when it is asked for.
///
/// # Errors
/// The hub could not be asked.
pub(super) fn load(
    source: &ModelSource,
    tokenizer_config: Option<&Json>,
) -> Result<Result<ChatTemplate, ChatTemplateError>, LocalModelError> {
    let found = match find(source, tokenizer_config) {
        Ok(found) => found,
        Err(LocalModelError::Malformed { path, reason }) => {
            let file = path.display().to_string();
            return Ok(Err(ChatTemplateError::Malformed { file, reason }));
        }
        Err(error) => return Err(error),
    };
    let Some(templates) = found else {
        return Ok(Err(ChatTemplateError::Missing));
    };
    let map = optional_json(source, SPECIAL_TOKENS_FILE)?;
    let files: Vec<&Json> = tokenizer_config.into_iter().chain(map.as_ref()).collect();
    let tokens = SpecialTokens::from_json(&files);
    Ok(ChatTemplate::new(&templates, tokens))
}

fn find(
    source: &ModelSource,
    tokenizer_config: Option<&Json>,
) -> Result<Option<Templates>, LocalModelError> {
    if let Some(path) = optional_path(source, TEMPLATE_FILE)? {
        let text = read_text(&path, MAX_TEMPLATE_FILE_BYTES)?;
        return Ok(Some(Templates::one(text)));
    }
    let legacy = optional_json(source, LEGACY_TEMPLATE_FILE)?;
    let places = [
        (LEGACY_TEMPLATE_FILE, legacy.as_ref()),
        (super::TOKENIZER_CONFIG_FILE, tokenizer_config),
    ];
    for (file, json) in places {
        let Some(value) = json.and_then(|json| json.get("chat_template")) else {
            continue;
        };
        let templates = Templates::from_json(value)
            .map_err(|reason| super::small_files::malformed(Path::new(file), reason))?;
        if templates.is_some() {
            return Ok(templates);
        }
    }
    Ok(None)
}

const TEMPLATE_FILE: &str = "chat_template.jinja";
const LEGACY_TEMPLATE_FILE: &str = "chat_template.json";
const SPECIAL_TOKENS_FILE: &str = "special_tokens_map.json";

/// Largest template file that is read; longer templates are refused with a reason once they are.
const MAX_TEMPLATE_FILE_BYTES: u64 = 1024 * 1024;
