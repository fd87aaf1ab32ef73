//! `generation_config.json`: how a model's makers would have it answer; `config.json` says some of the same.
//!
//! Keys and their meaning are transformers' (`GenerationConfig`, 4.x and 5.x); those that are not listed here have no
//! counterpart in a client and are passed over. A key that is `null` is not there.
//!
//! | key                                        | value                          |
//! |--------------------------------------------|--------------------------------|
//! | `eos_token_id`, `bos_token_id`             | an id, or several              |
//! | `do_sample`                                | true or false                  |
//! | `temperature`                              | a number from 0                |
//! | `top_k`                                    | a whole number from 0          |
//! | `top_p`                                    | above 0 and at most 1          |
//! | `min_p`                                    | from 0 to 1                    |
//! | `repetition_penalty`                       | a number above 0               |
//! | `max_new_tokens`, `max_length`             | a whole number from 1          |

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::sampling::SamplingConfig;

/// How a model's makers would have it answer; `None` where they say nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GenerationDefaults {
    /// Whether tokens are drawn; transformers takes the likeliest unless this is `true`.
    pub do_sample: Option<bool>,
    /// As [`SamplingConfig::temperature`].
    pub temperature: Option<f32>,
    /// As [`SamplingConfig::top_k`].
    pub top_k: Option<usize>,
    /// As [`SamplingConfig::top_p`].
    pub top_p: Option<f32>,
    /// As [`SamplingConfig::min_p`].
    pub min_p: Option<f32>,
    /// As [`SamplingConfig::repetition_penalty`].
    pub repetition_penalty: Option<f32>,
    /// Most tokens of an answer.
    pub max_new_tokens: Option<usize>,
    /// Most tokens of a prompt and its answer.
    pub max_length: Option<usize>,
}

/// What a request or a user says of how tokens are chosen; `None` leaves it to the model's makers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SamplingOverrides {
    /// As [`SamplingConfig::temperature`].
    pub temperature: Option<f32>,
    /// As [`SamplingConfig::top_k`].
    pub top_k: Option<usize>,
    /// As [`SamplingConfig::top_p`].
    pub top_p: Option<f32>,
    /// As [`SamplingConfig::min_p`].
    pub min_p: Option<f32>,
    /// As [`SamplingConfig::repetition_penalty`].
    pub repetition_penalty: Option<f32>,
    /// As [`SamplingConfig::presence_penalty`].
    pub presence_penalty: Option<f32>,
    /// As [`SamplingConfig::frequency_penalty`].
    pub frequency_penalty: Option<f32>,
    /// As [`SamplingConfig::logit_bias`].
    pub logit_bias: BTreeMap<u32, f32>,
    /// As [`SamplingConfig::seed`].
    pub seed: Option<u64>,
}

/// The file's ids and advice.
#[derive(Debug, Default)]
pub(super) struct GenerationFile {
    pub(super) eos: Option<Vec<u32>>,
    pub(super) bos: Option<u32>,
    pub(super) defaults: GenerationDefaults,
}

impl GenerationDefaults {
    /// How transformers' `generate` would choose tokens: the likeliest, unless the file says `do_sample`.
    #[must_use]
    pub fn sampling(&self) -> SamplingConfig {
        self.overridden(&SamplingOverrides::default())
    }

    /// The same where a request or a user says otherwise. A temperature asked for draws, whatever `do_sample` says.
    #[must_use]
    pub fn overridden(&self, asked: &SamplingOverrides) -> SamplingConfig {
        let plain = SamplingConfig::default();
        let advised_temperature = if self.do_sample.unwrap_or(false) {
            self.temperature.unwrap_or(plain.temperature)
        } else {
            0.0
        };
        let penalty = asked.repetition_penalty.or(self.repetition_penalty);
        SamplingConfig {
            temperature: asked.temperature.unwrap_or(advised_temperature),
            top_k: asked.top_k.or(self.top_k).unwrap_or(plain.top_k),
            top_p: asked.top_p.or(self.top_p).unwrap_or(plain.top_p),
            min_p: asked.min_p.or(self.min_p).unwrap_or(plain.min_p),
            repetition_penalty: penalty.unwrap_or(plain.repetition_penalty),
            presence_penalty: asked.presence_penalty.unwrap_or(plain.presence_penalty),
            frequency_penalty: asked.frequency_penalty.unwrap_or(plain.frequency_penalty),
            logit_bias: asked.logit_bias.clone(),
            seed: asked.seed,
        }
    }

    /// Most tokens of an answer to a prompt of `prompt` tokens, if the makers say; `max_new_tokens` goes before
    /// `max_length`.
    #[must_use]
    pub fn max_tokens(&self, prompt: usize) -> Option<usize> {
        let rest = self.max_length.map(|length| length.saturating_sub(prompt));
        self.max_new_tokens.or(rest)
    }
}

impl GenerationFile {
    /// Parses a `generation_config.json`.
    ///
    /// # Errors
    /// No JSON object, or a value that its key cannot have; the text names the key.
    pub(super) fn parse(json: &str) -> Result<Self, String> {
        let keys = Keys::parse(json)?;
        let (eos, bos) = keys.ends()?;
        let defaults = GenerationDefaults {
            do_sample: keys.flag("do_sample")?,
            temperature: keys.number("temperature", "a number from 0", |x| x >= 0.0)?,
            top_k: keys.whole("top_k", 0)?,
            top_p: keys.number("top_p", "above 0 and at most 1", |x| x > 0.0 && x <= 1.0)?,
            min_p: keys.number("min_p", "from 0 to 1", |x| (0.0..=1.0).contains(&x))?,
            repetition_penalty: keys
                .number("repetition_penalty", "a number above 0", |x| x > 0.0)?,
            max_new_tokens: keys.whole("max_new_tokens", 1)?,
            max_length: keys.whole("max_length", 1)?,
        };
        Ok(Self { eos, bos, defaults })
    }

    /// Takes the ids alone from a `config.json`: what else old ones say was never meant for generation.
    ///
    /// # Errors
    /// As [`GenerationFile::parse`].
    pub(super) fn parse_ends(json: &str) -> Result<Self, String> {
        let keys = Keys::parse(json)?;
        let (mut eos, mut bos) = keys.ends()?;
        // Models with several parts keep what belongs to text apart.
        if let Some(text) = keys.0.get("text_config").and_then(Value::as_object) {
            let (text_eos, text_bos) = Keys(text.clone()).ends()?;
            eos = eos.or(text_eos);
            bos = bos.or(text_bos);
        }
        Ok(Self {
            eos,
            bos,
            ..Self::default()
        })
    }
}

struct Keys(Map<String, Value>);

impl Keys {
    fn parse(json: &str) -> Result<Self, String> {
        match serde_json::from_str(json) {
            Ok(Value::Object(keys)) => Ok(Self(keys)),
            Ok(_) => Err("must be a JSON object".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn ends(&self) -> Result<(Option<Vec<u32>>, Option<u32>), String> {
        let eos = self.ids("eos_token_id")?;
        let bos = self.ids("bos_token_id")?;
        Ok((eos, bos.and_then(|ids| ids.first().copied())))
    }

    fn present(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// # Errors
    /// `read` does not take the value.
    fn read<T>(
        &self,
        key: &str,
        accepted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.present(key) else {
            return Ok(None);
        };
        let mut shown = value.to_string();
        if let Some((end, _)) = shown.char_indices().nth(MAX_SHOWN) {
            shown.truncate(end);
            shown.push('…');
        }
        read(value)
            .map(Some)
            .ok_or_else(|| format!("{key} must be {accepted}, not {shown}"))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        self.read(key, "true or false", Value::as_bool)
    }

    fn number(
        &self,
        key: &str,
        accepted: &str,
        is_accepted: fn(f32) -> bool,
    ) -> Result<Option<f32>, String> {
        self.read(key, accepted, |value| {
            #[expect(clippy::cast_possible_truncation, reason = "sampling is in f32")]
            let number = value.as_f64()? as f32;
            (number.is_finite() && is_accepted(number)).then_some(number)
        })
    }

    fn whole(&self, key: &str, least: usize) -> Result<Option<usize>, String> {
        self.read(key, &format!("a whole number from {least}"), |value| {
            let number = usize::try_from(whole(value)?).ok()?;
            (number >= least).then_some(number)
        })
    }

    fn ids(&self, key: &str) -> Result<Option<Vec<u32>>, String> {
        let id = |value: &Value| whole(value).and_then(|id| u32::try_from(id).ok());
        self.read(key, "a token id or several", |value| match value {
            Value::Array(ids) => ids.iter().map(id).collect(),
            one => id(one).map(|id| vec![id]),
        })
    }
}

/// A whole number, also where it is written with a point.
fn whole(value: &Value) -> Option<u64> {
    let float = || {
        let number = value.as_f64()?;
        let is_whole = (0.0..=MAX_WHOLE).contains(&number) && number.fract() == 0.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, and from 0 to 2^53"
        )]
        is_whole.then_some(number as u64)
    };
    value.as_u64().or_else(float)
}

/// Up to here every whole number is an f64: 2⁵³.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Characters of a bad value that are shown.
const MAX_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<GenerationFile, String> {
        GenerationFile::parse(json)
    }

    #[test]
    fn every_key_is_read() {
        let file = parse(
            r#"{"eos_token_id": [128001, 128008], "bos_token_id": 128000, "do_sample": true, "temperature": 0.6,
                "top_k": 20, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.1, "max_new_tokens": 2048,
                "max_length": 4096.0, "transformers_version": "4.51.0", "pad_token_id": [1], "typical_p": "x"}"#,
        )
        .unwrap();
        assert_eq!(file.eos, Some(vec![128_001, 128_008]));
        assert_eq!(file.bos, Some(128_000));
        let expected = GenerationDefaults {
            do_sample: Some(true),
            temperature: Some(0.6),
            top_k: Some(20),
            top_p: Some(0.9),
            min_p: Some(0.05),
            repetition_penalty: Some(1.1),
            max_new_tokens: Some(2048),
            max_length: Some(4096),
        };
        assert_eq!(file.defaults, expected);
        assert_eq!(file.defaults.sampling().check(), Ok(()));
    }

    #[test]
    fn nothing_is_said_by_null() {
        let file = parse(r#"{"temperature": null, "eos_token_id": null}"#).unwrap();
        assert_eq!(file.defaults, GenerationDefaults::default());
        assert_eq!(file.eos, None);
    }

    #[test]
    fn a_bad_value_is_an_error_that_names_its_key() {
        let bad = [
            ("temperature", "\"hot\""),
            ("temperature", "-0.5"),
            ("temperature", "1e60"),
            ("top_k", "-1"),
            ("top_k", "2.5"),
            ("top_p", "0"),
            ("top_p", "1.5"),
            ("min_p", "2"),
            ("repetition_penalty", "0"),
            ("do_sample", "1"),
            ("eos_token_id", "-1"),
            ("eos_token_id", "[1, \"two\"]"),
            ("bos_token_id", "4294967296"),
            ("max_new_tokens", "0"),
            ("max_length", "{}"),
        ];
        for (key, value) in bad {
            let error = parse(&format!("{{\"{key}\": {value}}}")).unwrap_err();
            assert!(error.starts_with(&format!("{key} must be ")), "{error}");
            assert!(
                error.ends_with(&format!("not {value}"))
                    || value == "1e60"
                    || value == "[1, \"two\"]",
                "{error}"
            );
        }
        assert!(parse("[]").is_err());
        assert!(parse("{").is_err());
    }

    #[test]
    fn tokens_are_drawn_only_if_the_file_or_the_caller_says_so() {
        let quiet = parse(r#"{"temperature": 0.6, "top_k": 20}"#)
            .unwrap()
            .defaults;
        assert!(quiet.sampling().is_greedy());
        let asked = SamplingOverrides {
            temperature: Some(0.9),
            top_p: Some(0.5),
            ..SamplingOverrides::default()
        };
        let sampling = quiet.overridden(&asked);
        assert_eq!(
            (sampling.temperature, sampling.top_k, sampling.top_p),
            (0.9, 20, 0.5)
        );
        let drawing = parse(r#"{"do_sample": true}"#).unwrap().defaults;
        assert_eq!(drawing.sampling(), SamplingConfig::default());
        let greedy = SamplingOverrides {
            temperature: Some(0.0),
            ..SamplingOverrides::default()
        };
        assert!(drawing.overridden(&greedy).is_greedy());
    }

    #[test]
    fn the_longest_answer_is_what_is_new_or_what_is_left() {
        let both = parse(r#"{"max_length": 20, "max_new_tokens": 7}"#)
            .unwrap()
            .defaults;
        assert_eq!(both.max_tokens(15), Some(7));
        let length = parse(r#"{"max_length": 20}"#).unwrap().defaults;
        assert_eq!(
            (length.max_tokens(15), length.max_tokens(30)),
            (Some(5), Some(0))
        );
        assert_eq!(GenerationDefaults::default().max_tokens(1), None);
    }

    #[test]
    fn ends_of_a_model_with_several_parts_are_those_of_its_text() {
        let file = GenerationFile::parse_ends(
            r#"{"temperature": "old", "bos_token_id": 5, "text_config": {"eos_token_id": 1, "bos_token_id": 2}}"#,
        )
        .unwrap();
        assert_eq!((file.eos, file.bos), (Some(vec![1]), Some(5)));
    }
}
