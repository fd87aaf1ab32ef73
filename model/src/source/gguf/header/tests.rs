use proptest::prelude::*;

use super::Header;
use crate::source::gguf::kind::GgufKind;
use crate::source::gguf::test_file::TestFile;

/// A file with metadata of every shape and three tensors.
fn small_file() -> TestFile {
    let mut file = TestFile::new();
    file.text("general.architecture", "llama");
    file.u32("general.alignment", 32);
    file.f32("llama.rope.freq_base", 10_000.0);
    file.texts("tokenizer.ggml.tokens", &["a", "b"]);
    file.i32s("tokenizer.ggml.token_type", &[1, 3]);
    file.bool("tokenizer.ggml.add_bos_token", true);
    file.singles("output_norm.weight", &[8], &[1.0; 8]);
    file.tensor("token_embd.weight", GgufKind::Q8_0, &[2, 32], &[0; 68]);
    file.singles("blk.0.attn_norm.weight", &[8], &[2.0; 8]);
    file
}

fn parse(bytes: &[u8]) -> Result<Header, String> {
    let header = Header::parse(bytes, bytes.len() as u64)?;
    for tensor in header.tensors.values() {
        assert!(tensor.bytes.start <= tensor.bytes.end && tensor.bytes.end <= bytes.len() as u64);
    }
    for value in header.metadata.values() {
        if let super::Value::Array(array) = value {
            let (_, _) = (array.numbers(bytes), array.texts(bytes));
        }
    }
    Ok(header)
}

#[test]
fn a_header_is_read() {
    let header = parse(&small_file().bytes()).unwrap();
    assert_eq!((header.metadata.len(), header.tensors.len()), (6, 3));
    let embeddings = &header.tensors["token_embd.weight"];
    assert_eq!(embeddings.kind(), Some(GgufKind::Q8_0));
    assert_eq!(embeddings.shape, [2, 32]);
    assert_eq!(embeddings.bytes.end - embeddings.bytes.start, 68);
    let mut second = small_file().bytes();
    second[4] = 2;
    assert_eq!(parse(&second).unwrap().tensors, header.tensors);
}

#[test]
fn every_prefix_is_an_error() {
    let bytes = small_file().bytes();
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "{length}");
    }
}

/// Bytes of a header with these counts and nothing behind them.
fn with_counts(tensors: u64, values: u64) -> Vec<u8> {
    [
        &b"GGUF\x03\0\0\0"[..],
        &tensors.to_le_bytes(),
        &values.to_le_bytes(),
    ]
    .concat()
}

#[test]
fn counts_that_cannot_be_are_refused_before_memory_is_taken() {
    for (bytes, named) in [
        (with_counts(1_000_000_000, 0), "1000000000 tensors"),
        (with_counts(0, u64::MAX), "18446744073709551615 values"),
    ] {
        // Enough bytes behind it for neither, whatever the file's size is said to be.
        let bytes = [bytes, vec![0; 4096]].concat();
        let error = Header::parse(&bytes, u64::MAX).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
    // Even with room for all of them.
    let room = [with_counts(1 << 19, 0), vec![0; 32 << 19]].concat();
    assert!(parse(&room).unwrap_err().contains("524288 tensors"));
    let mut file = TestFile::new();
    file.texts("tokens", &["a"]);
    let mut bytes = file.bytes();
    let count = 24 + 8 + 6 + 4 + 4;
    bytes[count..count + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(parse(&bytes).unwrap_err().contains("values of an array"));
}

#[test]
fn other_files_are_told_apart() {
    let version = |version: u32| [&b"GGUF"[..], &version.to_le_bytes(), &[0; 16]].concat();
    for (bytes, named) in [
        (b"PK\x03\x04 a zip file".to_vec(), "no GGUF file"),
        (version(1), "version 1"),
        (version(4), "version 4"),
        (version(0), "version 0"),
        (version(3u32.swap_bytes()), "big-endian"),
    ] {
        let error = parse(&bytes).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn tables_that_make_no_sense_are_refused() {
    let refused = |named: &str, change: &dyn Fn(&mut TestFile)| {
        let mut file = small_file();
        change(&mut file);
        let error = parse(&file.bytes()).unwrap_err();
        assert!(error.contains(named), "{named}: {error}");
    };
    refused("two tensors", &|file| {
        file.singles("output_norm.weight", &[8], &[0.0; 8])
    });
    refused("twice", &|file| file.u32("general.alignment", 32));
    refused("overlap", &|file| file.entry("x", &[8], 0, 0));
    refused("overlap", &|file| file.entry("x", &[32, 1], 8, 32));
    refused("no multiple", &|file| file.entry("x", &[8], 0, 8));
    refused("behind the file's end", &|file| {
        file.entry("x", &[8], 0, 1 << 40)
    });
    refused("behind the file's end", &|file| {
        file.entry("x", &[1 << 40], 0, 192)
    });
    refused("beyond any file", &|file| {
        file.entry("x", &[8], 0, u64::MAX - 31)
    });
    refused("more bytes", &|file| file.entry("x", &[1 << 62, 1], 0, 192));
    refused("a dimension", &|file| {
        file.entry("x", &[1 << 33, 1 << 33], 0, 192)
    });
    refused("a dimension of 0", &|file| file.entry("x", &[8, 0], 0, 192));
    refused("0 dimensions", &|file| file.entry("x", &[], 0, 192));
    refused("5 dimensions", &|file| file.entry("x", &[1; 5], 0, 192));
    refused("blocks of 256", &|file| file.entry("x", &[32], 12, 192));
    let mut odd = TestFile::new();
    odd.u32("general.alignment", 48);
    assert!(parse(&odd.bytes()).unwrap_err().contains("power of two"));
}

#[test]
fn tensors_of_a_type_that_is_not_read_do_not_matter_unless_they_are_wanted() {
    let mut file = small_file();
    file.entry("unused", &[256], 16, 160);
    let header = parse(&file.bytes()).unwrap();
    assert_eq!(header.tensors["unused"].kind(), None);
}

proptest! {
    #[test]
    fn a_changed_byte_is_an_error_or_another_value(place in 0usize..600, byte: u8) {
        let mut bytes = small_file().bytes();
        let place = place % bytes.len();
        bytes[place] = byte;
        let _ = parse(&bytes);
    }

    #[test]
    fn damaged_headers_never_panic(
        changes in prop::collection::vec((0usize..600, any::<u8>()), 1..12),
        cut in 0usize..600,
        inserted in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        let mut bytes = small_file().bytes();
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        let cut = cut % bytes.len();
        bytes.splice(cut..cut, inserted);
        let _ = parse(&bytes);
        let _ = parse(&bytes[..cut]);
    }

    #[test]
    fn what_follows_the_magic_may_be_anything(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = parse(&[b"GGUF\x03\0\0\0", &bytes[..]].concat());
    }

    /// Large numbers where the format has lengths, counts, sizes and offsets.
    #[test]
    fn wild_lengths_never_panic(place in 24usize..600, number: u64, bits in 0u32..64) {
        let mut bytes = small_file().bytes();
        let place = place.min(bytes.len() - 8);
        bytes[place..place + 8].copy_from_slice(&(number >> bits).to_le_bytes());
        let _ = parse(&bytes);
    }
}
