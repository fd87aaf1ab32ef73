//! What a chain must give, without any network: the toy blocks, cut and rounded as the chain's first route cut them.

use block_client::{ActivationCodec, Chain};
use block_protocol::compression::{decode_f32, encode_f32};
use block_protocol::{Compression, DType};

use crate::swarm::TestSwarm;
use crate::toy::{HIDDEN, Toy};

/// Segments with the codec of what leaves each, and of what enters the first.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    entrance: Compression,
    segments: Vec<(Toy, Compression)>,
    batch: usize,
}

impl Model {
    /// For a chain that has just been opened. Auto means 8-bit without a table at a boundary beside a server that lists it.
    pub(crate) fn of(swarm: &TestSwarm, chain: &Chain, batch: usize) -> Self {
        let stats = chain.stats();
        let is_auto = stats.codec == ActivationCodec::Auto;
        let lists = |stop: usize| {
            let lists = !swarm.server_of(chain, stop).is_petals();
            is_auto && lists
        };
        let codec = |small: bool| match small {
            true => Compression::Blockwise8Implied,
            false => Compression::None,
        };
        let last = stats.route.len() - 1;
        let segments = stats.route.iter().enumerate().map(|(number, stop)| {
            let small = lists(number) || number < last && lists(number + 1);
            (Toy::new(stop.blocks.clone(), batch), codec(small))
        });
        Self {
            entrance: codec(lists(0)),
            segments: segments.collect(),
            batch,
        }
    }

    pub(crate) fn step(&mut self, hidden: &[f32]) -> Vec<f32> {
        let shape = [self.batch, hidden.len() / self.batch / HIDDEN, HIDDEN];
        let round = |values: &[f32], codec| {
            let packed = encode_f32(values, &shape, DType::F32, codec).unwrap();
            decode_f32(&packed).unwrap()
        };
        let mut hidden = round(hidden, self.entrance);
        for (toy, codec) in &mut self.segments {
            hidden = round(&toy.step(&hidden), *codec);
        }
        hidden
    }

    pub(crate) fn cut(&mut self, position: usize) {
        for (toy, _) in &mut self.segments {
            toy.cut(position);
        }
    }

    pub(crate) fn reorder(&mut self, order: &[usize]) {
        for (toy, _) in &mut self.segments {
            toy.reorder(order);
        }
    }
}
