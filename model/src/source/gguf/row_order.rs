//! Rows whose order in GGUF is not that of transformers.

/// Where a row of transformers' order is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// In the same place.
    Same,
    /// llama.cpp turns neighbouring dimensions of a head together, transformers the first half with the second: row
    /// `half * n + i` of a head of `2 n` rows is stored as its row `2 i + half`.
    Paired {
        /// Heads of the tensor.
        heads: usize,
    },
    /// transformers has for each key and value head its queries, its key, its value; GGUF has all queries, all keys, all
    /// values.
    Joined {
        /// Key and value heads.
        groups: usize,
        /// Query heads of each.
        queries: usize,
    },
}

impl RowOrder {
    /// Whether a tensor of so many rows can be in this order.
    pub(super) fn fits(self, rows: usize) -> bool {
        let heads = match self {
            Self::Same => return true,
            Self::Paired { heads } => heads.checked_mul(2),
            Self::Joined { groups, queries } => queries
                .checked_add(2)
                .and_then(|heads| heads.checked_mul(groups)),
        };
        heads.is_some_and(|heads| heads > 0 && rows.is_multiple_of(heads))
    }

    /// Where row `row` of `rows` is stored.
    pub(super) fn stored(self, row: usize, rows: usize) -> usize {
        match self {
            Self::Same => row,
            Self::Paired { heads } => {
                let head_rows = rows / heads;
                let (head, inside) = (row / head_rows, row % head_rows);
                let (half, pair) = (inside / (head_rows / 2), inside % (head_rows / 2));
                head * head_rows + 2 * pair + half
            }
            Self::Joined { groups, queries } => {
                let head_rows = rows / (groups * (queries + 2));
                let (head, inside) = (row / head_rows, row % head_rows);
                let (group, part) = (head / (queries + 2), head % (queries + 2));
                let head = match part.checked_sub(queries) {
                    None => group * queries + part,
                    Some(key_or_value) => groups * (queries + key_or_value) + group,
                };
                head * head_rows + inside
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RowOrder;

    fn stored(order: RowOrder, rows: usize) -> Vec<usize> {
        assert!(order.fits(rows));
        (0..rows).map(|row| order.stored(row, rows)).collect()
    }

    #[test]
    fn halves_of_a_head_are_stored_in_turn() {
        let order = RowOrder::Paired { heads: 2 };
        assert_eq!(stored(order, 12), [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        assert!(!order.fits(6) && !order.fits(13));
        assert!(!RowOrder::Paired { heads: 0 }.fits(4));
        assert!(!RowOrder::Paired { heads: usize::MAX }.fits(4));
    }

    #[test]
    fn joined_heads_are_stored_by_kind() {
        let order = RowOrder::Joined {
            groups: 2,
            queries: 2,
        };
        // One row a head: queries 0 and 1, key, value of one group, then of the other.
        assert_eq!(stored(order, 8), [0, 1, 4, 6, 2, 3, 5, 7]);
        assert_eq!(
            stored(order, 16),
            [0, 1, 2, 3, 8, 9, 12, 13, 4, 5, 6, 7, 10, 11, 14, 15]
        );
        assert!(!order.fits(12));
    }
}
