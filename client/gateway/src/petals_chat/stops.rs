//! The texts that end an answer. Unlike OpenAI's they are part of it.

/// Looks for stop texts in an answer, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stops {
    /// `stop_sequence`.
    main: Option<String>,
    /// `extra_stop_sequences`.
    extra: Vec<String>,
    /// The end of the answer so far: what a stop text may begin in.
    tail: String,
}

/// A stop text that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes of the piece up to its end.
    pub(super) keep: usize,
    /// It is one of the extra ones.
    pub(super) is_extra: bool,
}

impl Stops {
    pub(super) fn new(main: Option<String>, extra: Vec<String>) -> Self {
        Self {
            main,
            extra,
            tail: String::new(),
        }
    }

    /// Takes the next piece. The stop text that ends first counts.
    pub(super) fn push(&mut self, piece: &str) -> Option<Found> {
        self.tail += piece;
        let before = self.tail.len() - piece.len();
        let main = self.main.iter().map(|text| (text, false));
        let all = main.chain(self.extra.iter().map(|text| (text, true)));
        let ends = all.filter_map(|(text, is_extra)| {
            let at = self.tail.find(text.as_str())?;
            Some((at + text.len(), is_extra))
        });
        let first = ends.min_by_key(|(end, _)| *end);
        if let Some((end, is_extra)) = first {
            return Some(Found {
                keep: end.saturating_sub(before),
                is_extra,
            });
        }
        let longest = self.main.iter().chain(&self.extra).map(String::len).max();
        let mut cut = self.tail.len().saturating_sub(longest.unwrap_or(0));
        while !self.tail.is_char_boundary(cut) {
            cut -= 1;
        }
        self.tail.drain(..cut);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(main: &str, extra: &[&str]) -> Stops {
        let extra = extra.iter().map(|text| (*text).to_owned()).collect();
        Stops::new(Some(main.to_owned()), extra)
    }

    #[test]
    fn a_stop_text_is_found_across_pieces_and_kept() {
        let found = |keep, is_extra| Some(Found { keep, is_extra });
        let mut cut = stops("###", &["</s>"]);
        assert_eq!(cut.push("a #"), None);
        assert_eq!(cut.push("#"), None);
        assert_eq!(cut.push("# and"), found(1, false));

        let mut extra = stops("###", &["</s>", "ö:"]);
        assert_eq!(extra.push(&"long ".repeat(1000)), None);
        assert!(extra.tail.len() <= 4);
        assert_eq!(extra.push("ö: ###"), found(3, true));

        let mut none = Stops::new(None, Vec::new());
        assert_eq!(none.push("###"), None);
        assert_eq!(none.tail, "");
    }
}
