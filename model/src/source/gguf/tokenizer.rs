//! What a file says of its tokenizer.

use super::file::GgufFile;
use crate::error::LoadError;

/// The tokenizer of a GGUF file, as the file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTokenizer {
    /// Kind of tokenizer: `llama` is SentencePiece's BPE, `gpt2` is byte-level BPE.
    pub model: String,
    /// How text is cut before BPE, by llama.cpp's name for it, such as `llama-bpe` or `qwen2`.
    pub pre: Option<String>,
    /// The tokens by their ids.
    pub tokens: Vec<String>,
    /// A score for each token, of SentencePiece; otherwise empty.
    pub scores: Vec<f32>,
    /// What each token is: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. Empty if the file says
    /// nothing.
    pub token_types: Vec<i32>,
    /// Pairs of tokens that are joined, the first first, with a space between; of byte-level BPE, otherwise empty.
    pub merges: Vec<String>,
    /// Id of the token that begins a text.
    pub bos: Option<u32>,
    /// Id of the token that ends a text.
    pub eos: Option<u32>,
    /// Id of the token that ends a turn of a conversation.
    pub end_of_turn: Option<u32>,
    /// Id of the token that stands for what has no other.
    pub unknown: Option<u32>,
    /// Id of the token that fills up.
    pub padding: Option<u32>,
    /// Whether texts begin with `bos`, if the file says so.
    pub add_bos: Option<bool>,
    /// Whether texts end with `eos`, if the file says so.
    pub add_eos: Option<bool>,
    /// Whether a space is put before texts, if the file says so.
    pub add_space_prefix: Option<bool>,
}

impl GgufTokenizer {
    /// Reads it.
    ///
    /// # Errors
    /// [`LoadError::Damaged`] if the file has no vocabulary, or lists of another length or with other values.
    pub(super) fn read(file: &GgufFile) -> Result<Self, LoadError> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let model = file.text(&key("model"));
        let model = model.ok_or_else(|| file.damaged("it has no tokenizer.ggml.model"))?;
        let texts = |name: &str| match file.metadata(&key(name)) {
            None => Ok(Vec::new()),
            Some(_) => file
                .texts(&key(name))
                .ok_or_else(|| file.damaged(format!("{} is no list of texts in UTF-8", key(name)))),
        };
        let tokens = texts("tokens")?;
        if tokens.is_empty() {
            return Err(file.damaged(format!("{} is missing", key("tokens"))));
        }
        let one_for_each = |name: &str| match file.metadata(&key(name)) {
            None => Ok(Vec::new()),
            Some(_) => {
                let numbers = file.numbers(&key(name));
                let numbers = numbers.filter(|numbers| numbers.len() == tokens.len());
                numbers.ok_or_else(|| {
                    file.damaged(format!("{} has not one number for each token", key(name)))
                })
            }
        };
        let id = |name: &str| {
            let id = file.size(&key(name)).filter(|id| *id < tokens.len() as u64);
            id.and_then(|id| u32::try_from(id).ok())
        };
        Ok(Self {
            model: model.to_owned(),
            pre: file.text(&key("pre")).map(str::to_owned),
            scores: one_for_each("scores")?
                .iter()
                .map(|score| *score as f32)
                .collect(),
            token_types: one_for_each("token_type")?
                .iter()
                .map(|kind| *kind as i32)
                .collect(),
            merges: texts("merges")?,
            bos: id("bos_token_id"),
            eos: id("eos_token_id"),
            end_of_turn: id("eot_token_id"),
            unknown: id("unknown_token_id"),
            padding: id("padding_token_id"),
            add_bos: file.bool(&key("add_bos_token")),
            add_eos: file.bool(&key("add_eos_token")),
            add_space_prefix: file.bool(&key("add_space_prefix")),
            tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::source::gguf::test_file::TestFile;

    fn with_vocabulary() -> TestFile {
        let mut file = TestFile::new();
        file.text("tokenizer.ggml.model", "gpt2");
        file.text("tokenizer.ggml.pre", "qwen2");
        file.texts("tokenizer.ggml.tokens", &["a", "b", "ab"]);
        file.texts("tokenizer.ggml.merges", &["a b"]);
        file
    }

    #[test]
    fn all_that_a_file_says_is_read() {
        let mut file = with_vocabulary();
        file.f32s("tokenizer.ggml.scores", &[-1.0, -2.5, 0.0]);
        file.i32s("tokenizer.ggml.token_type", &[1, 3, 6]);
        file.u32("tokenizer.ggml.bos_token_id", 2);
        file.u32("tokenizer.ggml.eos_token_id", 3);
        file.bool("tokenizer.ggml.add_bos_token", true);
        let tokenizer = super::GgufTokenizer::read(&file.open().unwrap()).unwrap();
        assert_eq!(
            (tokenizer.model.as_str(), tokenizer.pre.as_deref()),
            ("gpt2", Some("qwen2"))
        );
        assert_eq!(tokenizer.tokens, ["a", "b", "ab"]);
        assert_eq!(tokenizer.merges, ["a b"]);
        assert_eq!(tokenizer.scores, [-1.0, -2.5, 0.0]);
        assert_eq!(tokenizer.token_types, [1, 3, 6]);
        // An id behind the vocabulary names no token.
        assert_eq!((tokenizer.bos, tokenizer.eos), (Some(2), None));
        assert_eq!(
            (tokenizer.add_bos, tokenizer.add_space_prefix),
            (Some(true), None)
        );
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        let mut short = with_vocabulary();
        short.f32s("tokenizer.ggml.scores", &[1.0]);
        let mut other = with_vocabulary();
        other.texts("tokenizer.ggml.token_type", &["a", "b", "c"]);
        for (file, named) in [
            (TestFile::new(), "tokenizer.ggml.model"),
            (short, "scores"),
            (other, "token_type"),
        ] {
            let error = super::GgufTokenizer::read(&file.open().unwrap()).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
