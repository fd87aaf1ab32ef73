//! Which parts of a block lie packed in one matrix, and where.

use crate::families::{AttentionLayout, BlockLayout, GatedLayout, MlpBody, Part};
use crate::kernels::format::{Format, INPUT_PADDING, PANEL};
use crate::kernels::packed::Place;

/// Parts that share their input, as one matrix `[outputs, inputs]`.
#[derive(Debug)]
pub(super) struct Joined<'a> {
    pub(super) parts: Vec<(&'a Part, Place)>,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
}

impl<'a> Joined<'a> {
    /// One part alone.
    pub(super) fn one(part: &'a Part) -> Self {
        Self {
            parts: vec![(part, Place::From(0))],
            outputs: part.outputs,
            inputs: part.inputs,
        }
    }

    /// Queries, keys and values one after the other.
    pub(super) fn qkv(attention: &'a AttentionLayout) -> Self {
        let (query, key, value) = (&attention.query, &attention.key, &attention.value);
        let values_from = query.outputs + key.outputs;
        Self {
            parts: vec![
                (query, Place::From(0)),
                (key, Place::From(query.outputs)),
                (value, Place::From(values_from)),
            ],
            outputs: values_from + value.outputs,
            inputs: query.inputs,
        }
    }

    /// Gate and up by panels in turn.
    pub(super) fn gate_up(gated: &'a GatedLayout) -> Self {
        Self {
            parts: vec![
                (&gated.gate, Place::EvenPanels),
                (&gated.up, Place::OddPanels),
            ],
            outputs: 2 * gated.gate.outputs.next_multiple_of(PANEL),
            inputs: gated.gate.inputs,
        }
    }

    /// Memory of the matrix in a format and of its bias, bytes.
    pub(super) fn bytes(&self, format: Format) -> usize {
        let panels = self.outputs.div_ceil(PANEL);
        let bias = if self.parts.iter().any(|(part, _)| part.has_bias) {
            panels * PANEL * size_of::<f32>()
        } else {
            0
        };
        panels * format.panel_bytes(self.inputs.next_multiple_of(INPUT_PADDING)) + bias
    }
}

/// The format of a router: the choice of experts is not left to quantized weights, and it is small.
pub(super) const ROUTER_FORMAT: Format = Format::F32;

/// Memory of a block with its projections in a format, bytes.
pub(super) fn block_bytes(block: &BlockLayout, format: Format) -> usize {
    let gated = |gated: &GatedLayout| {
        Joined::gate_up(gated).bytes(format) + Joined::one(&gated.down).bytes(format)
    };
    let mlp = match &block.mlp.body {
        MlpBody::Plain { up, down } => {
            Joined::one(up).bytes(format) + Joined::one(down).bytes(format)
        }
        MlpBody::Gated(one) => gated(one),
        MlpBody::Mixture { router, experts } => {
            Joined::one(router).bytes(ROUTER_FORMAT) + experts.iter().map(gated).sum::<usize>()
        }
    };
    let attention = Joined::qkv(&block.attention).bytes(format)
        + Joined::one(&block.attention.output).bytes(format);
    let norms = block.norms();
    let norms = norms.map(|norm| norm.width * norm.vectors() * size_of::<f32>());
    attention + mlp + norms.sum::<usize>()
}
