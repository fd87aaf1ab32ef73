//! What a GGUF file says of texts: tokenizer, ends and chat template are in its metadata.

use std::path::Path;

use block_model::{GgufTokenizer, ModelSource};

use super::small_files::optional_path;
use super::tokenizer::TOKENIZER_FILE;
use super::{GenerationDefaults, LocalModelError, Texts};
use crate::chat_template::{ChatTemplate, ChatTemplateError};
use crate::text_codec::{GgufVocabulary, TextCodec};

/// Reads a GGUF file's metadata; `None` for a model of several files.
///
/// # Errors
/// The file has no tokenizer, or one that cannot be read while no `tokenizer.json` lies beside it.
pub(super) fn texts(source: &ModelSource) -> Result<Option<Texts>, LocalModelError> {
    let Some(vocabulary) = source.gguf_tokenizer()? else {
        return Ok(None);
    };
    let mut eos: Vec<u32> = [vocabulary.eos, vocabulary.end_of_turn]
        .into_iter()
        .flatten()
        .collect();
    eos.dedup();
    Ok(Some(Texts {
        tokenizer: tokenizer(source, &vocabulary)?,
        eos,
        bos: vocabulary.bos,
        generation: GenerationDefaults::default(),
        chat: chat(source.gguf_chat_template(), &vocabulary),
    }))
}

fn tokenizer(
    source: &ModelSource,
    vocabulary: &GgufTokenizer,
) -> Result<TextCodec, LocalModelError> {
    let codec = TextCodec::gguf(&GgufVocabulary {
        model: &vocabulary.model,
        pre: vocabulary.pre.as_deref(),
        tokens: &vocabulary.tokens,
        scores: &vocabulary.scores,
        token_types: &vocabulary.token_types,
        merges: &vocabulary.merges,
        bos: vocabulary.bos,
        eos: vocabulary.eos,
        unknown: vocabulary.unknown,
        add_bos: vocabulary.add_bos,
        add_eos: vocabulary.add_eos,
        add_space_prefix: vocabulary.add_space_prefix,
    });
    let unreadable = match codec {
        Ok(codec) => return Ok(codec),
        Err(error) => error,
    };
    // Files of several models may lie in one folder: what lies beside this one is asked only where it must be.
    let (path, read) = match optional_path(source, TOKENIZER_FILE)? {
        Some(path) => {
            let read = TextCodec::read(&path);
            (path, read)
        }
        None => (Path::new(&source.name()).to_owned(), Err(unreadable)),
    };
    read.map_err(|source| LocalModelError::Tokenizer { path, source })
}

fn chat(
    template: Option<&str>,
    vocabulary: &GgufTokenizer,
) -> Result<ChatTemplate, ChatTemplateError> {
    let template = ChatTemplate::parse(template.ok_or(ChatTemplateError::Missing)?)?;
    let tokens = [
        ("bos_token", vocabulary.bos),
        ("eos_token", vocabulary.eos),
        ("unk_token", vocabulary.unknown),
        ("pad_token", vocabulary.padding),
    ];
    let named = tokens
        .into_iter()
        .filter_map(|(name, id)| Some((name, vocabulary.tokens.get(usize::try_from(id?).ok()?)?)));
    Ok(named.fold(template, |template, (name, token)| {
        template.with_token(name, token)
    }))
}
