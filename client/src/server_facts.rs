//! What a server can do, by its record.

use std::ops::Range;

use block_network::PeerId;
use block_protocol::{Compression, DType, ServerInfo};

/// What a server can do, as far as its record says.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerFacts {
    /// Who it is.
    pub peer: PeerId,
    /// The blocks that it serves, inside the model.
    pub blocks: Range<usize>,
    /// Element type of its hidden states; `None` if it does not say, or says something unknown.
    pub dtype: Option<DType>,
    /// Codecs that it lists, known ones only. Empty: it lists none, ask its schema.
    pub codecs: Vec<Compression>,
    /// The program is this project's.
    pub is_ours: bool,
    /// The Petals version that it speaks.
    pub version: Option<String>,
}

impl ServerFacts {
    /// What the record of `peer` says.
    #[must_use]
    pub fn new(peer: PeerId, blocks: Range<usize>, info: &ServerInfo) -> Self {
        let _ = (peer, blocks, info);
        unimplemented!()
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
        unimplemented!()
    }

    /// Whether it hands a step on to the servers named in it: ours, or Petals from 2.3 on.
    #[must_use]
    pub fn pushes(&self) -> bool {
        unimplemented!()
    }
}
