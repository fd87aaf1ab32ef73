//! Where a model keeps its chat template, and how it spells its special tokens.
//!
//! The first of these that there is, as transformers looks for them:
//!
//! | place                                     | form                                                      |
//! |-------------------------------------------|-----------------------------------------------------------|
//! | `chat_template.jinja`                     | the template                                              |
//! | `chat_template.json`, its `chat_template` | a text, a list of `{name, template}`, or a map            |
//! | `tokenizer_config.json`, the same         | likewise                                                  |
//! | GGUF, `tokenizer.chat_template`           | a text; others as `tokenizer.chat_template.NAME`          |

use serde_json::Value as Json;

use super::message::TemplateValue;

/// The templates of a model, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Templates(Vec<(String, String)>);

/// The special tokens that templates name, such as `bos_token`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SpecialTokens(Vec<(String, TemplateValue)>);

impl Templates {
    /// A template without a name.
    pub(crate) fn one(source: String) -> Self {
        Self(vec![("default".to_owned(), source)])
    }

    /// A template, or several by name; `None` if there is none.
    ///
    /// # Errors
    /// What the value should have been.
    pub(crate) fn from_json(value: &Json) -> Result<Option<Self>, String> {
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let named: Option<Vec<(String, String)>> = match value {
            Json::Null => return Ok(None),
            Json::String(source) => return Ok(Some(Self::one(source.clone()))),
            Json::Array(entries) => entries
                .iter()
                .map(|entry| Some((text(entry.get("name")?)?, text(entry.get("template")?)?)))
                .collect(),
            Json::Object(entries) => entries
                .iter()
                .map(|(name, source)| Some((name.clone(), text(source)?)))
                .collect(),
            Json::Bool(_) | Json::Number(_) => None,
        };
        let named =
            named.ok_or_else(|| "chat_template must be a text, or texts by name".to_owned())?;
        if named.len() > MAX_TEMPLATES {
            return Err(format!(
                "chat_template has more than {MAX_TEMPLATES} templates"
            ));
        }
        Ok((!named.is_empty()).then_some(Self(named)))
    }

    pub(super) fn named(&self) -> &[(String, String)] {
        &self.0
    }
}

impl SpecialTokens {
    /// Those that a `tokenizer_config.json` or a `special_tokens_map.json` gives, the first before the second.
    pub(crate) fn from_json(files: &[&Json]) -> Self {
        let mut tokens = Self::default();
        for file in files {
            for name in NAMES {
                if let Some(token) = file.get(name).and_then(spelling) {
                    tokens.add(name, token.into());
                }
            }
            match file.get("extra_special_tokens") {
                Some(Json::Object(named)) => {
                    for (name, token) in named.iter().take(MAX_EXTRA) {
                        if let Some(token) = spelling(token) {
                            tokens.add(name, token.into());
                        }
                    }
                }
                _ => tokens.add_list(file.get("additional_special_tokens")),
            }
        }
        tokens
    }

    /// A token by the name that templates use, unless there is one of that name.
    pub(crate) fn add(&mut self, name: &str, token: TemplateValue) {
        if self.0.iter().all(|(known, _)| known != name) {
            self.0.push((name.to_owned(), token));
        }
    }

    fn add_list(&mut self, list: Option<&Json>) {
        let tokens: Vec<String> = list
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .take(MAX_EXTRA)
            .filter_map(spelling)
            .collect();
        if !tokens.is_empty() {
            self.add("additional_special_tokens", TemplateValue::new(&tokens));
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (String, minijinja::Value)> + '_ {
        let tokens = self.0.iter();
        tokens.map(|(name, token)| (name.clone(), token.0.clone()))
    }
}

/// A token's text: as such, or with how it is matched.
pub(crate) fn spelling(token: &Json) -> Option<String> {
    let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
    Some(text.to_owned())
}

const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Templates of one model: models with several have two to four.
const MAX_TEMPLATES: usize = 16;

/// Special tokens beside the named ones: models with many have some hundreds.
const MAX_EXTRA: usize = 4096;
