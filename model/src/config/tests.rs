use proptest::prelude::*;
use serde_json::Value as Json;

use super::{ConfigError, ModelConfig, Positions, RopeConfig, RopeScaling};
use crate::dtype::SpanDType;
use crate::source::Packing;

const TINY: &str = include_str!("../../tests/fixtures/tiny-llama/config.json");
const TINY_V5: &str = include_str!("../../tests/fixtures/tiny-llama/config.v5.json");
const FABLE: &str = include_str!("../../../models/fable-7m/config.json");

/// A small valid configuration with some fields replaced or added.
fn with(fields: &str) -> Result<ModelConfig, ConfigError> {
    let mut base: serde_json::Value = serde_json::from_str(
        r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32,
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 4096}"#,
    )
    .unwrap();
    let fields: serde_json::Value = serde_json::from_str(fields).unwrap();
    for (name, value) in fields.as_object().unwrap() {
        base[name] = value.clone();
    }
    ModelConfig::parse(&base.to_string())
}

fn rope(config: &ModelConfig) -> &RopeConfig {
    match &config.positions {
        Positions::Rotary { full, .. } => full,
        Positions::Alibi { .. } => panic!("no rotary positions"),
    }
}

fn scaling(fields: &str) -> Result<RopeScaling, ConfigError> {
    with(&format!(r#"{{"rope_scaling": {fields}}}"#)).map(|config| rope(&config).scaling.clone())
}

#[test]
fn both_spellings_of_rope_mean_the_same() {
    let old = ModelConfig::parse(TINY).unwrap();
    assert_eq!(old, ModelConfig::parse(TINY_V5).unwrap());
    assert_eq!(
        (old.num_blocks, old.heads, old.kv_heads, old.head_dim),
        (4, 4, 2, 16)
    );
    assert_eq!(rope(&old).theta, 500_000.0);
    assert_eq!(
        rope(&old).scaling,
        RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_positions: 64
        }
    );
}

#[test]
fn the_embedded_model_is_understood() {
    let config = ModelConfig::parse(FABLE).unwrap();
    assert_eq!(
        (config.num_blocks, config.hidden, config.ffn, config.vocab),
        (8, 256, 768, 4096)
    );
    assert!(config.tied_head);
    assert_eq!(config.dtype, Some(SpanDType::BF16));
    assert_eq!(rope(&config).scaling, RopeScaling::Default);
}

#[test]
fn absent_fields_take_the_defaults_of_transformers() {
    let config = with("{}").unwrap();
    assert_eq!((config.kv_heads, config.head_dim), (4, 8));
    assert_eq!((config.norm_eps, rope(&config).theta), (1e-6, 10_000.0));
    assert!(!config.attention_bias && !config.mlp_bias && !config.tied_head);
    let config = with(r#"{"head_dim": null, "rope_scaling": null, "dtype": "auto"}"#).unwrap();
    assert_eq!((config.head_dim, config.dtype), (8, None));
}

#[test]
fn an_unsupported_architecture_names_the_supported_ones() {
    let gpt2 = r#"{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 64}"#;
    let message = ModelConfig::parse(gpt2).unwrap_err().to_string();
    assert!(
        message.contains("GPT2LMHeadModel") && message.contains("LlamaForCausalLM"),
        "{message}"
    );
    assert!(matches!(
        ModelConfig::parse("{}"),
        Err(ConfigError::UnsupportedArchitecture { .. })
    ));
}

#[test]
fn impossible_sizes_are_refused() {
    for (fields, named) in [
        (r#"{"num_key_value_heads": 3}"#, "num_key_value_heads"),
        (r#"{"num_attention_heads": 0}"#, "num_attention_heads"),
        (r#"{"head_dim": 7}"#, "head_dim"),
        (r#"{"hidden_size": 0}"#, "hidden_size"),
        (r#"{"vocab_size": 99999999999}"#, "vocab_size"),
        (r#"{"rms_norm_eps": -1.0}"#, "rms_norm_eps"),
        (r#"{"hidden_act": "relu"}"#, "hidden_act"),
        (r#"{"rope_theta": 0.5}"#, "rope_theta"),
        (r#"{"partial_rotary_factor": 1.5}"#, "partial_rotary_factor"),
        (r#"{"num_hidden_layers": -1}"#, "cannot be read"),
    ] {
        let message = with(fields).unwrap_err().to_string();
        assert!(message.contains(named), "{fields}: {message}");
    }
    assert!(ModelConfig::parse("{").is_err());
}

#[test]
fn heads_are_counted_before_anything_is_made_for_each() {
    const BLOOM: &str = include_str!("../../tests/fixtures/tiny-bloom/config.json");
    for heads in ["0", "4294967295", "18446744073709551615"] {
        let text = BLOOM.replace("\"n_head\": 4", &format!("\"n_head\": {heads}"));
        let message = ModelConfig::parse(&text).unwrap_err().to_string();
        assert!(message.contains("num_attention_heads"), "{message}");
    }
}

#[test]
fn every_kind_of_rope_scaling_is_read() {
    assert_eq!(
        scaling(r#"{"type": "linear", "factor": 2.0}"#).unwrap(),
        RopeScaling::Linear { factor: 2.0 }
    );
    assert_eq!(
        scaling(r#"{"rope_type": "dynamic", "factor": 4.0}"#).unwrap(),
        RopeScaling::DynamicNtk {
            factor: 4.0,
            original_positions: 4096
        }
    );
    let yarn = r#"{"rope_type": "yarn", "original_max_position_embeddings": 1024}"#;
    assert_eq!(
        scaling(yarn).unwrap(),
        RopeScaling::Yarn {
            factor: 4.0,
            original_positions: 1024,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 0.1 * 4f64.ln() + 1.0,
            truncate: true
        }
    );
    let longrope = r#"{"rope_type": "longrope", "original_max_position_embeddings": 1024,
        "short_factor": [1, 1, 1, 1], "long_factor": [1, 2, 3, 4]}"#;
    let RopeScaling::LongRope {
        attention_factor, ..
    } = scaling(longrope).unwrap()
    else {
        panic!("not longrope");
    };
    assert_eq!(attention_factor, (1.0 + 4f64.ln() / 1024f64.ln()).sqrt());
}

#[test]
fn a_wrong_rope_scaling_is_refused_by_field() {
    for (fields, named) in [
        (r#"{"rope_type": "spiral", "factor": 2.0}"#, "longrope"),
        (r#"{"factor": 2.0}"#, "rope_type"),
        (r#"{"type": "linear"}"#, "factor"),
        (r#"{"type": "linear", "factor": 0}"#, "factor"),
        (
            r#"{"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}"#,
            "high_freq_factor",
        ),
        (
            r#"{"type": "longrope", "factor": 8, "short_factor": [1], "long_factor": [1]}"#,
            "short_factor",
        ),
    ] {
        let message = scaling(fields).unwrap_err().to_string();
        assert!(message.contains(named), "{fields}: {message}");
    }
}

/// A configuration of every family.
const FIXTURES: [&str; 7] = [
    TINY,
    TINY_V5,
    include_str!("../../tests/fixtures/tiny-falcon/config.json"),
    include_str!("../../tests/fixtures/tiny-gemma3/config.v5.json"),
    include_str!("../../tests/fixtures/tiny-mixtral/config.json"),
    include_str!("../../tests/fixtures/tiny-phi3/config.json"),
    include_str!("../../tests/fixtures/tiny-qwen3-moe/config.json"),
];

/// A value that a field may have if nobody has checked it.
fn wild_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (0u32..64, any::<u64>()).prop_map(|(bits, number)| Json::from(number >> bits)),
        any::<f64>().prop_map(Json::from),
        "[a-z_]{0,8}".prop_map(Json::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::hash_map(
                "factor|type|rope_type|rope_theta|quant_method|bits",
                inner,
                0..3
            )
            .prop_map(Json::from_iter),
        ]
    })
}

proptest! {
    #[test]
    fn damaged_configurations_never_panic(
        fixture in 0..FIXTURES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<char>()), 0..6),
        cut: prop::sample::Index,
    ) {
        let mut text: Vec<char> = FIXTURES[fixture].chars().collect();
        for (place, letter) in changes {
            let place = place.index(text.len());
            text[place] = letter;
        }
        let cut: String = text[..cut.index(text.len())].iter().collect();
        let _ = ModelConfig::parse(&text.iter().collect::<String>());
        let _ = ModelConfig::parse(&cut);
    }

    /// What is accepted can be laid out: nothing overflows, and lists have a bounded length.
    #[test]
    fn wild_values_in_configurations_never_panic(
        fixture in 0..FIXTURES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), wild_value()), 1..4),
        quantization in prop::option::of(wild_value()),
    ) {
        let mut config: Json = serde_json::from_str(FIXTURES[fixture]).unwrap();
        let fields = config.as_object_mut().unwrap();
        for (place, value) in changes {
            let name = fields.keys().nth(place.index(fields.len())).unwrap().clone();
            if name != "architectures" {
                fields.insert(name, value);
            }
        }
        if let Some(value) = quantization {
            fields.insert("quantization_config".to_owned(), value);
        }
        let text = config.to_string();
        let _ = Packing::parse(&text);
        if let Ok(config) = ModelConfig::parse(&text) {
            prop_assert!(config.num_blocks <= super::MAX_BLOCKS);
            prop_assert_eq!(config.windows.len(), config.num_blocks);
            prop_assert!(config.values_per_block() > 0);
        }
    }
}
