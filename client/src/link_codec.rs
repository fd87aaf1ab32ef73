//! Which codec the hidden states travel in between two hops. Pure.

/// What a user asks of the links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ActivationCodec {
    /// For each tensor the smallest codec that both ends list.
    #[default]
    Auto,
    /// The numbers as they are, in the server's dtype.
    None,
    /// 16-bit floats where both ends list them, otherwise none.
    Float16,
    /// 8-bit where both ends list it, otherwise none.
    Blockwise8,
}
