//! How a byte-level BPE cuts a text in words, by the names that GGUF files give in `tokenizer.ggml.pre`.
//!
//! Each is what the `tokenizer.json` of the models of that name says. A name that is not here is refused: another way
//! to cut gives other ids, and an answer that is only a little worse, so that nobody notices.
//!
//! | name                                  | models                                 | merges only what is no token as it is |
//! |---------------------------------------|----------------------------------------|---|
//! | `gpt-2`, `phi-2`                      | GPT-2, Phi-2                           |   |
//! | `llama-bpe`, `llama3`, `llama-v3`     | Llama 3                                | ✓ |
//! | `dbrx`, `smaug-bpe`                   | DBRX, Phi-4, Smaug                     |   |
//! | `qwen2`, `deepseek-r1-qwen`           | Qwen 2 to 3, DeepSeek-R1-Distill-Qwen  |   |
//! | `qwen35`                              | Qwen 3.5                               |   |
//! | `smollm`, `starcoder`, `refact`       | SmolLM, StarCoder, Refact              |   |
//! | `falcon`                              | Falcon                                 |   |
//! | `bloom`                               | BLOOM                                  |   |
//! | `tekken`                              | Mistral Nemo and later                 | ✓ |
//! | `gpt-4o`, `llama4`                    | Phi-4-mini, gpt-oss, Llama 4           |   |
//! | `deepseek-v3`                         | DeepSeek V3, R1                        |   |

use serde_json::{Value, json};

/// A way to cut texts.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// `null` for none.
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    /// Whether a word that is a token as it is stays whole, whatever merging would make of it.
    pub(super) ignores_merges: bool,
    /// Whether a text begins with the token for that, unless the file says otherwise.
    pub(super) adds_bos: bool,
}

/// All names.
pub(super) const NAMES: [&str; 19] = [
    "bloom",
    "dbrx",
    "deepseek-r1-qwen",
    "deepseek-v3",
    "falcon",
    "gpt-2",
    "gpt-4o",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "llama4",
    "phi-2",
    "qwen2",
    "qwen35",
    "refact",
    "smaug-bpe",
    "smollm",
    "starcoder",
    "tekken",
];

impl PreTokenizer {
    /// The one of a name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (normalizer, cuts) = match name {
            "gpt-2" | "phi-2" => (Value::Null, vec![byte_level(true)]),
            "llama-bpe" | "llama3" | "llama-v3" | "dbrx" | "smaug-bpe" => {
                (Value::Null, vec![split(LLAMA_3), byte_level(false)])
            }
            "qwen2" | "deepseek-r1-qwen" => (
                json!({"type": "NFC"}),
                vec![split(QWEN_2), byte_level(false)],
            ),
            "qwen35" => (
                json!({"type": "NFC"}),
                vec![split(QWEN_35), byte_level(false)],
            ),
            "smollm" | "starcoder" | "refact" => (
                Value::Null,
                vec![
                    json!({"type": "Digits", "individual_digits": true}),
                    byte_level(true),
                ],
            ),
            "falcon" => (
                Value::Null,
                vec![
                    json!({"type": "Punctuation", "behavior": "Contiguous"}),
                    byte_level(true),
                    json!({"type": "Digits", "individual_digits": false}),
                    split("[0-9][0-9][0-9]"),
                ],
            ),
            "bloom" => (Value::Null, vec![split(BLOOM), byte_level(false)]),
            "tekken" => (Value::Null, vec![split(TEKKEN), byte_level(false)]),
            "gpt-4o" | "llama4" => (Value::Null, vec![split(GPT_4O), byte_level(false)]),
            "deepseek-v3" => (
                Value::Null,
                vec![
                    split("\\p{N}{1,3}"),
                    split("[一-龥぀-ゟ゠-ヿ]+"),
                    split(DEEPSEEK_3),
                    byte_level(false),
                ],
            ),
            _ => return None,
        };
        let is_llama = matches!(name, "llama-bpe" | "llama3" | "llama-v3");
        Some(Self {
            normalizer,
            pre_tokenizer: json!({"type": "Sequence", "pretokenizers": cuts}),
            ignores_merges: is_llama || name == "tekken",
            adds_bos: is_llama || name == "tekken",
        })
    }
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

/// Bytes as characters; `cuts` by GPT-2's pattern as well.
fn byte_level(cuts: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": cuts})
}

const LLAMA_3: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const QWEN_2: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const QWEN_35: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const BLOOM: &str = " ?[^(\\s|[.,!?…。，、।۔،])]+";

const TEKKEN: &str = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const GPT_4O: &str = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const DEEPSEEK_3: &str = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
