//! Flags of other programs that people paste: dropped with a notice, or refused with a reason.

/// How a flag is treated that we do not have.
#[derive(Debug, Clone, Copy)]
pub enum Treatment {
    /// Dropped with one notice; the text says why nothing is lost.
    Ignored(&'static str),
    /// Ends the program; the text is the hint.
    Refused(&'static str),
}

/// A flag without a counterpart here.
#[derive(Debug, Clone, Copy)]
pub struct Foreign {
    /// Its long name, with dashes.
    pub name: &'static str,
    /// How many values it takes at most.
    pub most_values: usize,
    /// What happens to it.
    pub treatment: Treatment,
}

impl Foreign {
    /// A flag that is dropped.
    pub const fn ignored(name: &'static str, most_values: usize, why: &'static str) -> Self {
        Self {
            name,
            most_values,
            treatment: Treatment::Ignored(why),
        }
    }

    /// A flag that ends the program: dropping it would mislead.
    pub const fn refused(name: &'static str, hint: &'static str) -> Self {
        Self {
            name,
            most_values: usize::MAX,
            treatment: Treatment::Refused(hint),
        }
    }
}
