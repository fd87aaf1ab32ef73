//! How tensors are stored: plain floats, or blocks of small integers with scales.

/// A type of tensor that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GgufKind {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// A type's number in files, its name, and how many values make a block of how many bytes.
struct Facts {
    kind: GgufKind,
    id: u32,
    name: &'static str,
    block_values: usize,
    block_bytes: usize,
}

const fn facts(
    kind: GgufKind,
    id: u32,
    name: &'static str,
    block_values: usize,
    block_bytes: usize,
) -> Facts {
    Facts {
        kind,
        id,
        name,
        block_values,
        block_bytes,
    }
}

/// In the order of [`GgufKind`]. Source: ggml, `ggml.h` and `ggml-common.h`.
const FACTS: [Facts; 11] = [
    facts(GgufKind::F32, 0, "F32", 1, 4),
    facts(GgufKind::F16, 1, "F16", 1, 2),
    facts(GgufKind::Bf16, 30, "BF16", 1, 2),
    facts(GgufKind::Q4_0, 2, "Q4_0", 32, 18),
    facts(GgufKind::Q4_1, 3, "Q4_1", 32, 20),
    facts(GgufKind::Q5_0, 6, "Q5_0", 32, 22),
    facts(GgufKind::Q5_1, 7, "Q5_1", 32, 24),
    facts(GgufKind::Q8_0, 8, "Q8_0", 32, 34),
    facts(GgufKind::Q4K, 12, "Q4_K", 256, 144),
    facts(GgufKind::Q5K, 13, "Q5_K", 256, 176),
    facts(GgufKind::Q6K, 14, "Q6_K", 256, 210),
];

/// Types that exist but are not read, so that an error can name them.
const OTHERS: [(u32, &str); 23] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

/// The types that are read, for errors.
pub(crate) const SUPPORTED_KINDS: &str =
    "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K";

impl GgufKind {
    /// The type of a number in files.
    pub(super) fn from_id(id: u32) -> Option<Self> {
        FACTS
            .iter()
            .find(|facts| facts.id == id)
            .map(|facts| facts.kind)
    }

    /// The name of any type by its number in files.
    pub(super) fn name_of(id: u32) -> String {
        let known = FACTS
            .iter()
            .map(|facts| (facts.id, facts.name))
            .chain(OTHERS);
        let name = known.into_iter().find(|(known, _)| *known == id);
        name.map_or_else(|| format!("type {id}"), |(_, name)| name.to_owned())
    }

    /// The name that files and people use.
    pub(crate) const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The number in files.
    #[cfg(test)]
    pub(super) const fn id(self) -> u32 {
        self.facts().id
    }

    /// Values of a block; a row is made of whole ones.
    pub(super) const fn block_values(self) -> usize {
        self.facts().block_values
    }

    /// Bytes of a block.
    pub(super) const fn block_bytes(self) -> usize {
        self.facts().block_bytes
    }

    const fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::{FACTS, GgufKind, SUPPORTED_KINDS};

    #[test]
    fn the_table_is_in_order_and_complete() {
        for facts in &FACTS {
            assert_eq!(facts.kind.name(), facts.name);
            assert_eq!(GgufKind::from_id(facts.id), Some(facts.kind));
            assert_eq!(GgufKind::name_of(facts.id), facts.name);
        }
        let names: Vec<_> = FACTS.iter().map(|facts| facts.name).collect();
        assert_eq!(names.join(", "), SUPPORTED_KINDS);
        assert_eq!(GgufKind::from_id(16), None);
        assert_eq!(GgufKind::name_of(16), "IQ2_XXS");
        assert_eq!(GgufKind::name_of(99), "type 99");
    }
}
