//! A block's MLP, in two halves: up to its inner width, and back to the residual stream.

use super::block::{Machine, Operand, Workspace, gated_width, resize};
use super::weights::{BlockWeights, GatedWeights, MlpWeights, Projection};
use crate::kernels::disjoint::Disjoint;
use crate::kernels::product::product;
use crate::kernels::sinks::{Activate, Gate};

impl Machine {
    /// Computes what is between the MLP's products; with experts, only the normed stream and who goes where.
    pub(super) fn enter_mlp(&self, block: &BlockWeights, work: &mut Workspace) {
        let norm = block.mlp_norm.as_ref().unwrap_or(&block.attention.norm);
        match &block.mlp {
            MlpWeights::Plain { up, down } => {
                self.normed(norm, up, work);
                self.activate(up, down, work);
            }
            MlpWeights::Gated(gated) => {
                self.normed(norm, &gated.gate_up, work);
                self.gate(gated, work.rows(), work);
            }
            MlpWeights::Mixture {
                router,
                chosen,
                is_renormalized,
                ..
            } => self.choose(norm, router, *chosen, *is_renormalized, work),
        }
    }

    /// Adds the MLP to the stream.
    pub(super) fn leave_mlp(&self, block: &BlockWeights, work: &mut Workspace) {
        let post_norm = block.mlp_post_norm.as_ref();
        let down = match &block.mlp {
            MlpWeights::Plain { down, .. } => down,
            MlpWeights::Gated(gated) => &gated.down,
            MlpWeights::Mixture { experts, .. } => {
                debug_assert!(post_norm.is_none(), "no family norms what experts give");
                return self.mix(experts, work);
            }
        };
        let rounding = Some(self.residual);
        self.add_product(down, Operand::Gated, post_norm, rounding, work);
    }

    fn activate(&self, up: &Projection, down: &Projection, work: &mut Workspace) {
        let width = gated_width(down);
        let rows = work.rows();
        resize(&mut work.gated, rows * width);
        let sink = Activate {
            level: self.level,
            activation: self.activation,
            out: Disjoint::new(&mut work.gated),
            width,
            bias: &up.bias,
        };
        product(
            self.level,
            &self.pool,
            &up.weights,
            &work.activations,
            &sink,
        );
    }

    /// Multiplies the activations, which have `rows` rows, with gate and up.
    pub(super) fn gate(&self, gated: &GatedWeights, rows: usize, work: &mut Workspace) {
        let width = gated_width(&gated.down);
        resize(&mut work.gated, rows * width);
        let gate_up = &gated.gate_up;
        let sink = Gate {
            level: self.level,
            activation: self.activation,
            out: Disjoint::new(&mut work.gated),
            width,
            bias: &gate_up.bias,
        };
        product(
            self.level,
            &self.pool,
            &gate_up.weights,
            &work.activations,
            &sink,
        );
    }
}
