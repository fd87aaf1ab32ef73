use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::text_codec::test_codecs::{byte_fallback, byte_level, fable};

static FABLE: LazyLock<TextCodec> = LazyLock::new(fable);
static BYTE_LEVEL: LazyLock<TextCodec> = LazyLock::new(byte_level);
static BYTE_FALLBACK: LazyLock<TextCodec> = LazyLock::new(byte_fallback);

/// Pieces in order; the last is what `finish` brings.
fn pieces(codec: &TextCodec, before: &[u32], ids: &[u32]) -> Vec<String> {
    let mut stream = TextStream::after(codec.clone(), before).unwrap();
    let mut pieces = Vec::new();
    for id in ids {
        pieces.push(stream.push(*id).unwrap());
        assert!(stream.pending.len() < MAX_PENDING_TOKENS);
    }
    pieces.push(stream.finish().unwrap());
    pieces
}

fn whole(text: &str) -> &str {
    text.trim_end_matches(REPLACEMENT)
}

/// Whether a text's characters all come out whole, however many tokens each takes, and wherever a prompt ends.
fn check_text(codec: &TextCodec, text: &str) {
    let ids = codec.encode_continuation(text).unwrap();
    let decoded = codec.decode(&ids).unwrap();
    assert_eq!(decoded, text);
    for cut in [0, ids.len() / 3, ids.len() / 2, ids.len()] {
        let (before, after) = ids.split_at(cut);
        let prompt = codec.decode(before).unwrap();
        let streamed = pieces(codec, before, after);
        assert!(
            streamed.iter().all(|piece| !piece.contains(REPLACEMENT)),
            "{streamed:?}"
        );
        assert_eq!(format!("{}{}", whole(&prompt), streamed.concat()), text);
    }
}

/// Letters, spaces, accents, Chinese, emoji with modifiers: one to four bytes each.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        Just('h'),
        Just('e'),
        Just(' '),
        Just('.'),
        Just('é'),
        Just('你'),
        Just('好'),
        Just('🙂'),
        Just('👩'),
        Just('\u{200D}'),
        Just('🏽'),
        any::<char>().prop_filter("itself", |c| *c != REPLACEMENT && *c != '▁'),
    ];
    vec(character, 0..40).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn any_ids_of_the_embedded_model_stream_to_their_decoding(ids in vec(0_u32..4100, 0..120)) {
        let streamed = pieces(&FABLE, &[], &ids).concat();
        prop_assert_eq!(streamed, whole(&FABLE.decode(&ids).unwrap()));
    }

    /// Bytes at random: most are no characters, and U+FFFD is what their decoding has.
    #[test]
    fn any_bytes_stream_to_their_decoding(ids in vec(prop_oneof![0_u32..268, 129_u32..268], 0..80)) {
        let streamed = pieces(&BYTE_LEVEL, &[], &ids).concat();
        prop_assert_eq!(streamed, whole(&BYTE_LEVEL.decode(&ids).unwrap()));
    }

    #[test]
    fn any_text_streams_in_whole_characters(text in text()) {
        check_text(&FABLE, &text);
        check_text(&BYTE_LEVEL, &text);
    }

    /// This decoder takes one leading space off, so the text begins with something else.
    #[test]
    fn any_text_in_single_bytes_streams_in_whole_characters(text in text()) {
        let ids = BYTE_FALLBACK.encode_continuation(&format!("h{text}")).unwrap();
        let streamed = pieces(&BYTE_FALLBACK, &[], &ids);
        prop_assert!(streamed.iter().all(|piece| !piece.contains(REPLACEMENT)), "{:?}", streamed);
        prop_assert_eq!(streamed.concat(), format!("h{text}"));
    }

    #[test]
    fn garbage_in_single_bytes_neither_fails_nor_piles_up(ids in vec(prop_oneof![0_u32..264, 129_u32..257], 0..120)) {
        pieces(&BYTE_FALLBACK, &[], &ids);
    }
}

#[test]
fn a_character_leaves_with_its_last_token() {
    let ids: Vec<u32> = "🙂!".bytes().map(|byte| u32::from(byte) + 1).collect();
    assert_eq!(pieces(&BYTE_LEVEL, &[], &ids), ["", "", "", "🙂", "!", ""]);
    assert_eq!(
        pieces(&BYTE_FALLBACK, &[], &ids),
        ["", "", "", "🙂", "!", ""]
    );
}

#[test]
fn a_run_of_characters_in_bytes_leaves_one_by_one() {
    let ids: Vec<u32> = "你好".bytes().map(|byte| u32::from(byte) + 1).collect();
    assert_eq!(
        pieces(&BYTE_FALLBACK, &[], &ids),
        ["", "", "你", "", "", "好", ""]
    );
}

#[test]
fn a_byte_that_fits_to_nothing_takes_back_nothing() {
    let mut ids: Vec<u32> = "你".bytes().map(|byte| u32::from(byte) + 1).collect();
    ids.push(0x80 + 1);
    ids.extend(BYTE_FALLBACK.encode_continuation("h").unwrap());
    assert_eq!(pieces(&BYTE_FALLBACK, &[], &ids).concat(), "你\u{FFFD} h");
}

#[test]
fn an_answer_begins_with_the_space_that_parts_it_from_its_prompt() {
    let prompt = BYTE_FALLBACK.encode_continuation("he").unwrap();
    let answer = BYTE_FALLBACK.encode_continuation("he").unwrap();
    assert_eq!(pieces(&BYTE_FALLBACK, &[], &answer).concat(), "he");
    assert_eq!(pieces(&BYTE_FALLBACK, &prompt, &answer).concat(), " he");
}

#[test]
fn a_half_character_at_the_end_is_left_out_and_comes_with_the_continuation() {
    let ids: Vec<u32> = "a🙂".bytes().map(|byte| u32::from(byte) + 1).collect();
    let (first, second) = ids.split_at(3);
    assert_eq!(pieces(&BYTE_LEVEL, &[], first).concat(), "a");
    assert_eq!(pieces(&BYTE_LEVEL, first, second).concat(), "🙂");
}
