//! What is in a file of the mock hub.

use std::sync::OnceLock;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A file's bytes: stored, or computed when they are asked for.
#[derive(Debug)]
pub struct Contents {
    /// Stored bytes at the start.
    start: Vec<u8>,
    /// Length with what follows, which is computed.
    size: u64,
    is_large: bool,
    etag: OnceLock<String>,
}

impl Contents {
    /// A file that the hub has itself.
    pub fn small(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(bytes.into(), 0, false)
    }

    /// A file that the host of contents has.
    pub fn large(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(bytes.into(), 0, true)
    }

    /// A safetensors file of bf16 tensors without meaning, none of them above 1 or not a number.
    pub fn tensors(tensors: &[(String, Vec<usize>)]) -> Self {
        let mut end = 0;
        let mut entries = Vec::new();
        for (name, shape) in tensors {
            let start = end;
            end += 2 * shape.iter().product::<usize>() as u64;
            entries.push(format!(
                r#""{name}":{{"dtype":"BF16","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
            ));
        }
        let mut header = format!("{{{}}}", entries.join(","));
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let mut start = (header.len() as u64).to_le_bytes().to_vec();
        start.extend_from_slice(header.as_bytes());
        Self::new(start, end, true)
    }

    fn new(start: Vec<u8>, computed_bytes: u64, is_large: bool) -> Self {
        Self {
            size: start.len() as u64 + computed_bytes,
            start,
            is_large,
            etag: OnceLock::new(),
        }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the host of contents has it.
    pub(super) fn is_large(&self) -> bool {
        self.is_large
    }

    /// The name of the contents: SHA-256 if large, else what git names them.
    pub fn etag(&self) -> &str {
        self.etag.get_or_init(|| {
            let size = self.size;
            if self.is_large {
                self.digest(Sha256::new())
            } else {
                self.digest(Sha1::new().chain_update(format!("blob {size}\0")))
            }
        })
    }

    fn digest(&self, mut digest: impl Digest) -> String {
        for start in (0..self.size).step_by(BUFFER_BYTES) {
            digest.update(self.read(start, self.size.min(start + BUFFER_BYTES as u64)));
        }
        let bytes = digest.finalize();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes `start..end`.
    pub fn read(&self, start: u64, end: u64) -> Vec<u8> {
        let place = |offset: u64| usize::try_from(offset).unwrap().min(self.start.len());
        let mut bytes = self.start[place(start)..place(end)].to_vec();
        let mut at = start.max(self.start.len() as u64);
        while at < end {
            let word = word(at / 8).to_le_bytes();
            let from = (at % 8) as usize;
            let to = 8.min(from + (end - at) as usize);
            bytes.extend_from_slice(&word[from..to]);
            at += (to - from) as u64;
        }
        bytes
    }
}

/// Four numbers of type bf16 between 2^-7 and 2^-6, and their negatives, different at each `place`.
fn word(place: u64) -> u64 {
    // SplitMix64: https://prng.di.unimi.it/splitmix64.c
    let mut word = place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31)) & 0x807f_807f_807f_807f | 0x3c00_3c00_3c00_3c00
}

/// Read at once.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;
