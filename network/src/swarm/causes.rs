//! What is behind a transport's error.

use std::{error::Error, io, iter};

/// The error and everything that caused it, outermost first.
pub(super) fn causes(error: &io::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    iter::successors(Some(error as &(dyn Error + 'static)), |outer| cause(*outer))
}

/// An `io::Error` hides the error it wraps from `source`, and transports wrap several times.
fn cause<'a>(outer: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = outer
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match wrapped {
        Some(inner) => Some(inner as &(dyn Error + 'static)),
        None => outer.source(),
    }
}

/// The innermost cause that has something to say.
pub(super) fn root_cause(error: &io::Error) -> String {
    let texts = causes(error).map(ToString::to_string);
    let last = texts.filter(|text| !text.is_empty()).last();
    last.unwrap_or_else(|| "the transport does not say why".to_owned())
}
