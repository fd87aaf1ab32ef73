//! A model's tokens as a tree of bytes, in which a grammar finds those that may come next.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::api::ParserLimits;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Matcher, ParserFactory};

use super::{Constraint, ConstraintError, first_line, on_deep_stack};
use crate::text_codec::TextCodec;

/// A model's vocabulary, prepared for grammars: built once a model, shared by its answers.
#[derive(Clone)]
pub(crate) struct Vocabulary {
    factory: Arc<ParserFactory>,
}

impl Vocabulary {
    /// Takes half a second for 128 000 tokens. `vocab`: how many ids the model has; `eos`: those that end an answer.
    ///
    /// # Errors
    /// [`ConstraintError::Model`].
    pub(crate) fn new(
        codec: &TextCodec,
        vocab: usize,
        eos: &[u32],
    ) -> Result<Self, ConstraintError> {
        let words = codec.token_bytes(vocab);
        let words = words.map_err(|error| ConstraintError::Model(error.to_string()))?;
        // Its tree has limits of its own, which it asserts.
        let factory = catch_unwind(AssertUnwindSafe(|| factory(&words, eos)))
            .unwrap_or_else(|_| Err("its vocabulary makes no tree".to_owned()))
            .map_err(ConstraintError::Model)?;
        Ok(Self {
            factory: Arc::new(factory),
        })
    }

    /// A grammar at its beginning. Blocks the thread.
    ///
    /// # Errors
    /// [`ConstraintError::Unusable`], [`ConstraintError::NoThread`].
    pub(super) fn matcher(&self, constraint: &Constraint) -> Result<Matcher, ConstraintError> {
        let factory = Arc::clone(&self.factory);
        let grammar = Arc::clone(&constraint.grammar);
        let parser = on_deep_stack(move || {
            let parser = factory.create_parser_from_init_default((*grammar).clone());
            parser.map_err(|error| first_line(&error))
        })?;
        Ok(Matcher::new(Ok(parser)).into_cancellable())
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Vocabulary")
    }
}

fn factory(words: &[Vec<u8>], eos: &[u32]) -> Result<ParserFactory, String> {
    let count = u32::try_from(words.len()).map_err(|error| error.to_string())?;
    let eos: Vec<u32> = eos.iter().copied().filter(|id| *id < count).collect();
    let first = eos.first().copied().unwrap_or(INVALID_TOKEN);
    let mut trie = TokTrie::from(&TokRxInfo::new(count, first), words);
    if !eos.is_empty() {
        trie = trie.with_eos_tokens(&eos);
    }
    // Not canonical: where only one text can come, the model still chooses its tokens.
    let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::general_slices();
    let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices)
        .map_err(|error| first_line(&error))?;
    factory.quiet();
    *factory.limits_mut() = limits();
    Ok(factory)
}

/// How much work and memory a grammar may take. It is counted, not timed; the times are its authors'.
pub(super) fn limits() -> ParserLimits {
    ParserLimits {
        // 20 ms to read the patterns, then 15 and 3 ms for the tokens that may come next.
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_items_in_row: 2_000,
        // 2 kB each.
        max_lexer_states: 50_000,
        max_grammar_size: 500_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}
