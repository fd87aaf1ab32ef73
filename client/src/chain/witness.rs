//! Whether an answer is the one to the step that is waited for. A server that answers a step twice shifts every later
//! answer by one step, with nothing wrong in any shape.
//!
//! | server                                          | how it is found out                                          |
//! |-------------------------------------------------|--------------------------------------------------------------|
//! | names the step in its answers, as ours do       | the name is another one                                      |
//! | does not (the reference's)                      | another input, but bit for bit the output of the step before |
//! | either, if the extra answer came between steps  | it waits there before the next step is sent                  |
//!
//! In the second case nothing shows if the same input comes twice in a row. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use block_protocol::WireTensor;

use crate::error::HopError;
use crate::hop::Answer;
use crate::link_codec::is_whole;

/// Bytes of a tensor that are compared: a token of 4096 numbers in f32. Each is one step's first token, which depends
/// on all before it.
const COMPARED_BYTES: usize = 16 * 1024;

/// What one session's answers have been like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Witness {
    /// It has named a step, so it must go on doing so.
    names_steps: bool,
    /// Digests of the last step with tokens, if it was not named: what was sent, what was answered.
    last: Option<(u64, u64)>,
}

impl Witness {
    /// The answer's tensor, if it is one to the step of this name and input, as far as can be known.
    ///
    /// # Errors
    /// `Nonsense` if it is not.
    pub(super) fn check(
        &mut self,
        answer: Answer,
        step_id: &str,
        input: &WireTensor,
    ) -> Result<WireTensor, HopError> {
        let Answer {
            tensor,
            step_id: named,
        } = answer;
        check_shape(&tensor, &input.shape)?;
        match named {
            Some(named) if named == step_id => self.names_steps = true,
            None if !self.names_steps => self.compare(input, &tensor)?,
            _ => {
                return Err(HopError::Nonsense(
                    "the answer is one to another step".to_owned(),
                ));
            }
        }
        Ok(tensor)
    }

    fn compare(&mut self, input: &WireTensor, output: &WireTensor) -> Result<(), HopError> {
        if input.is_dummy() || input.numel() == Some(0) {
            return Ok(());
        }
        let now = (digest(input), digest(output));
        let last = self.last.replace(now);
        if last.is_some_and(|last| last.0 != now.0 && last.1 == now.1) {
            return Err(HopError::Nonsense(
                "the answer repeats the one before, to another input".to_owned(),
            ));
        }
        Ok(())
    }
}

fn check_shape(answer: &WireTensor, shape: &[usize]) -> Result<(), HopError> {
    if answer.shape != shape || !answer.dtype.is_float() {
        return Err(HopError::Nonsense(format!(
            "a step of shape {shape:?} was answered by {} of shape {:?}",
            answer.dtype.name(),
            answer.shape
        )));
    }
    if !is_whole(answer) {
        return Err(HopError::Nonsense(
            "the answer's bytes do not fit its shape".to_owned(),
        ));
    }
    Ok(())
}

fn digest(tensor: &WireTensor) -> u64 {
    let mut hasher = DefaultHasher::new();
    let bytes = tensor.buffer.len().min(COMPARED_BYTES);
    (&tensor.shape, tensor.buffer.get(..bytes)).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use block_protocol::compression::encode_f32;
    use block_protocol::{Compression, DType};

    use super::*;

    fn tensor(values: &[f32]) -> WireTensor {
        let shape = [1, values.len() / 2, 2];
        encode_f32(values, &shape, DType::F32, Compression::None).unwrap()
    }

    fn answer(values: &[f32], step_id: Option<&str>) -> Answer {
        Answer {
            tensor: tensor(values),
            step_id: step_id.map(str::to_owned),
        }
    }

    #[test]
    fn a_server_that_names_steps_must_name_the_right_one() {
        let mut witness = Witness::default();
        let input = tensor(&[1.0, 2.0]);
        let output = [3.0, 4.0];
        assert!(
            witness
                .check(answer(&[], Some("open")), "open", &tensor(&[]))
                .is_ok()
        );
        assert!(
            witness
                .check(answer(&output, Some("1")), "1", &input)
                .is_ok()
        );
        for named in [Some("1"), Some("open"), None] {
            let mut witness = witness.clone();
            assert!(matches!(
                witness.check(answer(&output, named), "2", &input),
                Err(HopError::Nonsense(_))
            ));
        }
        // The same step in the same place again and again is nothing special there.
        assert!(
            witness
                .check(answer(&output, Some("2")), "2", &tensor(&[5.0, 6.0]))
                .is_ok()
        );
    }

    #[test]
    fn a_server_that_does_not_must_not_repeat_itself() {
        let mut witness = Witness::default();
        let (first, second) = (tensor(&[1.0, 2.0]), tensor(&[1.0, 2.5]));
        let mut check =
            |output: &[f32], input: &WireTensor| witness.check(answer(output, None), "x", input);
        for _ in 0..2 {
            // A step without tokens, and equal steps.
            assert!(check(&[], &tensor(&[])).is_ok());
            assert!(check(&[3.0, 4.0], &first).is_ok());
        }
        assert!(check(&[5.0, 4.0], &first).is_ok());
        assert!(matches!(
            check(&[5.0, 4.0], &second),
            Err(HopError::Nonsense(_))
        ));
    }

    #[test]
    fn shapes_and_bytes_must_fit() {
        let mut cut = answer(&[1.0, 2.0], None);
        cut.tensor.buffer.truncate(5);
        for wrong in [answer(&[1.0, 2.0, 3.0, 4.0], None), cut] {
            let checked = Witness::default().check(wrong, "x", &tensor(&[1.0, 2.0]));
            assert!(matches!(checked, Err(HopError::Nonsense(_))));
        }
    }
}
