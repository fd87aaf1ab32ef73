//! Where a session's blocks run: in a swarm, or, in tests, in this process.

use crate::chain::{Chain, ChainStats};
use crate::session_error::SessionError;

#[cfg(test)]
mod local_blocks;
#[cfg(test)]
pub(crate) use local_blocks::{Fate, LocalBlocks};

#[derive(Debug)]
pub(super) enum Blocks {
    Swarm(Chain),
    #[cfg(test)]
    Here(LocalBlocks),
}

impl Blocks {
    pub(super) fn position(&self) -> usize {
        match self {
            Self::Swarm(chain) => chain.position(),
            #[cfg(test)]
            Self::Here(blocks) => blocks.position,
        }
    }

    pub(super) fn max_length(&self) -> usize {
        match self {
            Self::Swarm(chain) => chain.max_length(),
            #[cfg(test)]
            Self::Here(blocks) => blocks.max_length,
        }
    }

    pub(super) async fn step(&mut self, hidden_states: &[f32]) -> Result<Vec<f32>, SessionError> {
        match self {
            Self::Swarm(chain) => chain.step(hidden_states, None).await,
            #[cfg(test)]
            Self::Here(blocks) => blocks.step(hidden_states).await,
        }
    }

    pub(super) fn roll_back(&mut self, position: usize) -> Result<(), SessionError> {
        match self {
            Self::Swarm(chain) => chain.roll_back(position),
            #[cfg(test)]
            Self::Here(blocks) => {
                blocks.position = position;
                Ok(())
            }
        }
    }

    /// Whether no step can be done any more.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Swarm(chain) => chain.is_over(),
            #[cfg(test)]
            Self::Here(_) => false,
        }
    }

    pub(super) fn stats(&self) -> ChainStats {
        match self {
            Self::Swarm(chain) => chain.stats(),
            #[cfg(test)]
            Self::Here(_) => ChainStats::default(),
        }
    }

    pub(super) async fn close(self) {
        match self {
            Self::Swarm(chain) => chain.close().await,
            #[cfg(test)]
            Self::Here(_) => (),
        }
    }
}
