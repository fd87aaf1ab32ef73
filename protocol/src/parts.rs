//! Cutting a tensor into parts for a stream, and joining them again.
