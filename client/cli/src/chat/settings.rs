//! How the model is to answer, as `/set parameter` changes it. Pure.

use std::str::FromStr;

use block_client::{GenerationDefaults, SamplingConfig, SamplingOverrides};

use crate::cli::ChatFlags;

/// How the model is to answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// Most tokens of an answer.
    pub(super) max_tokens: usize,
    /// Texts that end an answer.
    pub(super) stop: Vec<String>,
    /// Go on after the token that ends an answer.
    pub(super) ignore_eos: bool,
    asked: SamplingOverrides,
}

/// A change that a person asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    MaxTokens(usize),
    Temperature(f32),
    TopK(usize),
    TopP(f32),
    MinP(f32),
    RepetitionPenalty(f32),
    PresencePenalty(f32),
    FrequencyPenalty(f32),
    Seed(u64),
    Stop(String),
    IgnoreEos(bool),
}

impl Change {
    /// Reads a name (ours or Ollama's) and a value.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn parse(name: &str, value: &str) -> Result<Self, String> {
        match name {
            "max_tokens" | "num_predict" => match number(name, value)? {
                0 => Err(format!("{name} must be 1 or more, not 0")),
                count => Ok(Self::MaxTokens(count)),
            },
            "temperature" => number(name, value).map(Self::Temperature),
            "top_k" => number(name, value).map(Self::TopK),
            "top_p" => number(name, value).map(Self::TopP),
            "min_p" => number(name, value).map(Self::MinP),
            "repetition_penalty" | "repeat_penalty" => {
                number(name, value).map(Self::RepetitionPenalty)
            }
            "presence_penalty" => number(name, value).map(Self::PresencePenalty),
            "frequency_penalty" => number(name, value).map(Self::FrequencyPenalty),
            "seed" => number(name, value).map(Self::Seed),
            "stop" if value.is_empty() => Err("stop must not be empty".to_owned()),
            "stop" => Ok(Self::Stop(value.to_owned())),
            "ignore_eos" => number(name, value).map(Self::IgnoreEos),
            _ => Err(format!(
                "no parameter {name:?}; there are {}",
                NAMES.join(", ")
            )),
        }
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name} cannot be {value:?}"))
}

impl Settings {
    /// As the flags have it.
    pub(super) fn new(flags: &ChatFlags) -> Self {
        Self {
            max_tokens: flags.max_tokens,
            stop: flags.stop.clone(),
            ignore_eos: false,
            asked: SamplingOverrides {
                temperature: flags.temperature,
                seed: flags.seed,
                ..SamplingOverrides::default()
            },
        }
    }

    /// Changes one of them.
    ///
    /// # Errors
    /// The value is out of range, in words; nothing has changed then.
    pub(super) fn change(&mut self, change: Change) -> Result<(), String> {
        let mut changed = self.clone();
        let asked = &mut changed.asked;
        match change {
            Change::MaxTokens(count) => changed.max_tokens = count,
            Change::Temperature(value) => asked.temperature = Some(value),
            Change::TopK(count) => asked.top_k = Some(count),
            Change::TopP(value) => asked.top_p = Some(value),
            Change::MinP(value) => asked.min_p = Some(value),
            Change::RepetitionPenalty(value) => asked.repetition_penalty = Some(value),
            Change::PresencePenalty(value) => asked.presence_penalty = Some(value),
            Change::FrequencyPenalty(value) => asked.frequency_penalty = Some(value),
            Change::Seed(seed) => asked.seed = Some(seed),
            Change::Stop(text) => changed.stop.push(text),
            Change::IgnoreEos(is_ignored) => changed.ignore_eos = is_ignored,
        }
        changed.check()?;
        *self = changed;
        Ok(())
    }

    /// Whether tokens can be chosen like this.
    ///
    /// # Errors
    /// What is out of range, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        let sampling = self.sampling(&GenerationDefaults::default());
        sampling.check().map_err(|error| {
            format!(
                "{} must be {}, not {}",
                error.field, error.range, error.value
            )
        })
    }

    /// How tokens are chosen: as the model's makers advise where nothing else was asked for.
    pub(super) fn sampling(&self, advice: &GenerationDefaults) -> SamplingConfig {
        advice.overridden(&self.asked)
    }

    /// For `/show parameters`.
    pub(super) fn in_words(&self, advice: &GenerationDefaults) -> String {
        let sampling = self.sampling(advice);
        let seed = sampling.seed.map_or_else(
            || "a new one for each answer".to_owned(),
            |seed| seed.to_string(),
        );
        let values = [
            self.max_tokens.to_string(),
            sampling.temperature.to_string(),
            sampling.top_k.to_string(),
            sampling.top_p.to_string(),
            sampling.min_p.to_string(),
            sampling.repetition_penalty.to_string(),
            sampling.presence_penalty.to_string(),
            sampling.frequency_penalty.to_string(),
            seed,
            format!("{:?}", self.stop),
            self.ignore_eos.to_string(),
        ];
        NAMES
            .iter()
            .zip(values)
            .map(|(name, value)| format!("{name:<20} {value}\n"))
            .collect()
    }
}

/// All parameters, in the order in which they are shown.
const NAMES: [&str; 11] = [
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "ignore_eos",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            max_tokens: 10,
            stop: Vec::new(),
            ignore_eos: false,
            asked: SamplingOverrides::default(),
        }
    }

    #[test]
    fn every_parameter_that_is_shown_can_be_set() {
        let mut settings = settings();
        for name in NAMES {
            let value = if name == "ignore_eos" { "true" } else { "1" };
            let change = Change::parse(name, value).unwrap();
            settings.change(change).unwrap();
        }
        let sampling = settings.sampling(&GenerationDefaults::default());
        assert_eq!((sampling.temperature, sampling.seed), (1.0, Some(1)));
        let shown = settings.in_words(&GenerationDefaults::default());
        for (line, name) in shown.lines().zip(NAMES) {
            assert!(line.starts_with(name), "{line}");
        }
    }

    #[test]
    fn wrong_values_change_nothing() {
        let mut settings = settings();
        let before = settings.clone();
        assert!(settings.change(Change::TopP(2.0)).is_err());
        assert_eq!(settings, before);
        for (name, value) in [
            ("max_tokens", "0"),
            ("temperature", "warm"),
            ("stop", ""),
            ("colour", "red"),
        ] {
            assert!(Change::parse(name, value).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn the_makers_advice_holds_until_something_else_is_asked_for() {
        let advice = GenerationDefaults {
            do_sample: Some(true),
            temperature: Some(0.6),
            ..GenerationDefaults::default()
        };
        let mut settings = settings();
        assert_eq!(settings.sampling(&advice).temperature, 0.6);
        settings.change(Change::Temperature(0.0)).unwrap();
        assert!(settings.sampling(&advice).is_greedy());
    }
}
