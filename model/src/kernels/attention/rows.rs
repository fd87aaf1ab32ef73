//! Rows that lie in a wider matrix.

/// Rows of single precision with a stride, such as the queries inside the rows of a fused QKV product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StridedRows<'a> {
    /// The whole matrix, row-major.
    pub(crate) values: &'a [f32],
    /// Values from one row to the next.
    pub(crate) stride: usize,
    /// Values before the part that is meant, in each row.
    pub(crate) offset: usize,
}

impl<'a> StridedRows<'a> {
    /// A matrix of rows of `width` without gaps.
    #[cfg(test)]
    pub(crate) fn dense(values: &'a [f32], width: usize) -> Self {
        Self {
            values,
            stride: width,
            offset: 0,
        }
    }

    /// `len` values of a row, `start` values into the part that is meant.
    #[inline]
    pub(super) fn part(&self, row: usize, start: usize, len: usize) -> &'a [f32] {
        &self.values[row * self.stride + self.offset + start..][..len]
    }
}
