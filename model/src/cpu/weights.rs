//! One block's weights.

use crate::kernels::attention::AttentionShape;
use crate::kernels::level::Level;
use crate::kernels::norm::{layer_norm, rms_norm};
use crate::kernels::packed::Packed;

/// A projection with its bias, if it has one.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) weights: Packed,
    /// One for each output of all panels, or empty.
    pub(super) bias: Vec<f32>,
}

/// A norm over `[width]`.
#[derive(Debug)]
pub(crate) enum Norm {
    /// By the root mean square.
    Rms { weight: Vec<f32> },
    /// By mean and deviation.
    Layer { weight: Vec<f32>, bias: Vec<f32> },
}

impl Norm {
    /// - `row`, `out`: `[width]`
    pub(crate) fn apply(&self, level: Level, row: &[f32], eps: f32, out: &mut [f32]) {
        match self {
            Self::Rms { weight } => rms_norm(level, row, weight, eps, out),
            Self::Layer { weight, bias } => layer_norm(level, row, [weight, bias], eps, out),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Rms { weight } => size_of_val(&**weight),
            Self::Layer { weight, bias } => size_of_val(&**weight) + size_of_val(&**bias),
        }
    }
}

/// Attention and the norms around it.
#[derive(Debug)]
pub(super) struct AttentionWeights {
    pub(super) norm: Norm,
    /// Query, key and value heads one after the other: hidden to (heads + 2 * kv_heads) * head_dim.
    pub(super) qkv: Projection,
    /// Norms of each head of the queries and of the keys.
    pub(super) head_norms: Option<[Norm; 2]>,
    pub(super) output: Projection, // heads * head_dim to hidden
    pub(super) post_norm: Option<Norm>,
    pub(super) shape: AttentionShape,
    /// Which of the span's rotary tables turns queries and keys, if one does.
    pub(super) rotary: Option<usize>,
}

/// An MLP with gate.
#[derive(Debug)]
pub(super) struct GatedWeights {
    /// Gate and up, interleaved by panels.
    pub(super) gate_up: Projection,
    pub(super) down: Projection, // ffn to hidden
}

/// The arithmetic of an MLP.
#[derive(Debug)]
pub(super) enum MlpWeights {
    Plain {
        up: Projection,
        down: Projection,
    },
    Gated(GatedWeights),
    Mixture {
        router: Projection, // hidden to experts
        experts: Vec<GatedWeights>,
        /// Experts that a token uses.
        chosen: usize,
        is_renormalized: bool,
    },
}

/// A block.
#[derive(Debug)]
pub(super) struct BlockWeights {
    pub(super) attention: AttentionWeights,
    /// None if the MLP shares attention's.
    pub(super) mlp_norm: Option<Norm>,
    pub(super) mlp: MlpWeights,
    pub(super) mlp_post_norm: Option<Norm>,
}

impl Projection {
    fn bytes(&self) -> usize {
        self.weights.bytes() + size_of_val(&*self.bias)
    }
}

impl GatedWeights {
    fn bytes(&self) -> usize {
        self.gate_up.bytes() + self.down.bytes()
    }
}

impl MlpWeights {
    fn bytes(&self) -> usize {
        match self {
            Self::Plain { up, down } => up.bytes() + down.bytes(),
            Self::Gated(gated) => gated.bytes(),
            Self::Mixture {
                router, experts, ..
            } => router.bytes() + experts.iter().map(GatedWeights::bytes).sum::<usize>(),
        }
    }
}

impl BlockWeights {
    /// Memory taken, bytes.
    pub(super) fn bytes(&self) -> u64 {
        let attention = &self.attention;
        let norms = [Some(&attention.norm), attention.post_norm.as_ref()]
            .into_iter()
            .chain([self.mlp_norm.as_ref(), self.mlp_post_norm.as_ref()])
            .flatten()
            .chain(attention.head_norms.iter().flatten());
        let bytes = attention.qkv.bytes()
            + attention.output.bytes()
            + self.mlp.bytes()
            + norms.map(Norm::bytes).sum::<usize>();
        bytes as u64
    }
}
