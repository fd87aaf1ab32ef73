//! What a server can do, by its record.

use std::ops::Range;

use block_network::PeerId;
use block_protocol::{Compression, DType, ServerInfo};

/// What a server can do, as far as its record says. Records are claims.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerFacts {
    /// Who it is.
    pub peer: PeerId,
    /// The blocks that it serves, inside the model.
    pub blocks: Range<usize>,
    /// Element type of its hidden states; `None` if it does not say, or says something unknown.
    pub dtype: Option<DType>,
    /// Codecs that it lists, those known to us. Empty: it lists none, ask its schema.
    pub codecs: Vec<Compression>,
    /// The program is of this project.
    pub is_ours: bool,
    /// The Petals version that it speaks.
    pub version: Option<String>,
}

/// What the key `implementation` of our own servers begins with.
const OUR_PROGRAM: &str = "block-server/";

/// The first Petals version with `start_from_position`, and whose servers push by the metadata of each step.
const FIRST_WITH_ROLL_BACK: (u32, u32) = (2, 3);

impl ServerFacts {
    /// What the record of `peer` says.
    #[must_use]
    pub fn new(peer: PeerId, blocks: Range<usize>, info: &ServerInfo) -> Self {
        let codecs = info.codecs.iter();
        Self {
            peer,
            blocks,
            dtype: info.torch_dtype.as_deref().and_then(float_type),
            codecs: codecs
                .filter_map(|name| Compression::from_name(name))
                .collect(),
            is_ours: info
                .implementation
                .as_ref()
                .is_some_and(|name| name.starts_with(OUR_PROGRAM)),
            version: info.version.clone(),
        }
    }

    /// Whether it lists `codec`. Whoever lists nothing is asked for its schema.
    #[must_use]
    pub fn reads(&self, codec: Compression) -> bool {
        self.codecs.contains(&codec)
    }

    /// Whether it lists any codec, so that its schema need not be asked for.
    #[must_use]
    pub fn lists_codecs(&self) -> bool {
        !self.codecs.is_empty()
    }

    /// Whether it honours `start_from_position`: ours, or Petals from 2.3 on.
    #[must_use]
    pub fn rolls_back(&self) -> bool {
        self.is_ours || self.is_petals_since(FIRST_WITH_ROLL_BACK)
    }

    /// Whether it hands a step on to the servers named in it: ours, or Petals from 2.3 on. Those before look at the
    /// first step only.
    #[must_use]
    pub fn pushes(&self) -> bool {
        self.is_ours || self.is_petals_since(FIRST_WITH_ROLL_BACK)
    }

    fn is_petals_since(&self, first: (u32, u32)) -> bool {
        let version = self.version.as_deref().and_then(release);
        version.is_some_and(|version| version >= first)
    }
}

/// The type of hidden states by its name in records; `None` for types that hidden states do not have.
fn float_type(name: &str) -> Option<DType> {
    let dtype = DType::from_name(name)?;
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16).then_some(dtype)
}

/// The first two numbers of a PEP 440 version: `2.3.0.dev2` → (2, 3).
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor: String = numbers
        .next()?
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    Some((major, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(info: &ServerInfo) -> ServerFacts {
        ServerFacts::new(PeerId::random(), 0..4, info)
    }

    #[test]
    fn versions_decide_what_a_petals_server_can_do() {
        for (version, expected) in [
            ("2.3.0.dev2", true),
            ("2.3", true),
            ("2.10.1", true),
            ("3.0", true),
            ("2.3rc1", true),
            ("2.2.0.post1", false),
            ("1.9", false),
            ("2", false),
            ("main", false),
            ("99999999999999.1", false),
            ("", false),
        ] {
            let facts = facts(&ServerInfo {
                version: Some(version.to_owned()),
                ..ServerInfo::default()
            });
            assert_eq!(
                (facts.rolls_back(), facts.pushes()),
                (expected, expected),
                "{version}"
            );
        }
        assert!(!facts(&ServerInfo::default()).rolls_back());
    }

    #[test]
    fn our_servers_say_so_and_list_their_codecs() {
        let facts = facts(&ServerInfo {
            implementation: Some("block-server/0.1.0".to_owned()),
            torch_dtype: Some("bfloat16".to_owned()),
            codecs: vec![
                "none".to_owned(),
                "of-tomorrow".to_owned(),
                "blockwise8".to_owned(),
            ],
            ..ServerInfo::default()
        });
        assert!(facts.is_ours && facts.rolls_back() && facts.pushes() && facts.lists_codecs());
        assert_eq!(facts.dtype, Some(DType::BF16));
        assert_eq!(facts.codecs, [Compression::None, Compression::Blockwise8]);
        assert!(facts.reads(Compression::Blockwise8) && !facts.reads(Compression::Float16));
    }

    #[test]
    fn strangers_and_odd_types_are_taken_for_nothing() {
        let facts = facts(&ServerInfo {
            implementation: Some("another/1".to_owned()),
            torch_dtype: Some("int8".to_owned()),
            ..ServerInfo::default()
        });
        assert!(!facts.is_ours && !facts.lists_codecs() && !facts.reads(Compression::None));
        assert_eq!(facts.dtype, None);
    }
}
