//! Which servers make which chain.

use block_testing::Maker::{self, Ours, Petals};

/// A server by who implements it and its first block and end, half-open, and the end of what a chain uses of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) server: Cast,
    pub(crate) blocks: (u32, u32),
}

pub(crate) type Cast = (Maker, (u32, u32));

/// One model's servers: of each maker one that holds all blocks, and two for the beginning and the middle.
#[derive(Debug)]
pub(crate) struct Cuts {
    pub(crate) first: (u32, u32),
    pub(crate) middle: (u32, u32),
    pub(crate) all: (u32, u32),
}

pub(crate) const FABLE: Cuts = Cuts {
    first: (0, 3),
    middle: (3, 6),
    all: (0, 8),
};

pub(crate) const RANDOM: Cuts = Cuts {
    first: (0, 1),
    middle: (1, 3),
    all: (0, 4),
};

impl Cuts {
    /// Every server of the model.
    pub(crate) fn cast(&self) -> Vec<Cast> {
        let spans = [self.first, self.middle, self.all];
        let by = |maker: Maker| spans.map(|blocks| (maker, blocks));
        [by(Petals), by(Ours)].concat()
    }

    pub(crate) fn one(&self, maker: Maker) -> Vec<Stop> {
        vec![self.rest((maker, self.all), 0)]
    }

    pub(crate) fn two(&self, makers: [Maker; 2]) -> Vec<Stop> {
        let first = whole((makers[0], self.first));
        vec![first, self.rest((makers[1], self.all), self.first.1)]
    }

    pub(crate) fn three(&self, makers: [Maker; 3]) -> Vec<Stop> {
        let first = whole((makers[0], self.first));
        let middle = whole((makers[1], self.middle));
        vec![
            first,
            middle,
            self.rest((makers[2], self.all), self.middle.1),
        ]
    }

    /// A server that holds all blocks, entered at one of them.
    fn rest(&self, server: Cast, entry: u32) -> Stop {
        let blocks = (entry, self.all.1);
        Stop { server, blocks }
    }
}

fn whole(server: Cast) -> Stop {
    let blocks = server.1;
    Stop { server, blocks }
}
