//! A template → the same template, whose memory is bounded.
//!
//! minijinja's fuel bounds how many steps a template takes, not how much one step makes: `{% set x = x ~ x %}` doubles a
//! text with each of them. So wherever a value gets a name, and could be used again, a check is put in; between two
//! names a value can only grow by what the template spells out.
//!
//! | in the template                  | becomes                                                        |
//! |----------------------------------|----------------------------------------------------------------|
//! | `set a = E`, `set n.a = E`       | `set a = KEEP((E))`, `set n.a = KEEP_IN((E))`                  |
//! | `for a in E`                     | `for a in KEEP_LOOP((E))`                                      |
//! | `macro m(a)`, `call(a) …`, `with a = E` | `set a = KEEP(a)` behind the tag                        |
//! | `A * B`                          | <code>A\|FACTOR * B\|FACTOR</code>: repeating has a limit      |
//! | a long text                      | a count of it in its middle, for loops that capture it         |
//! | `generation`, `endgeneration`    | `with`, `endwith`: transformers' marks around an answer        |
//!
//! What the checks do is in `budget`; filters and methods have their own.

use std::ops::Range;

use super::syntax::{Piece, Tag, Token, TokenKind, Unclosed, pieces};

/// Names that begin so are ours.
pub(super) const RESERVED: &str = "__guard_";
/// Checks a value that gets a name.
pub(super) const KEEP: &str = "__guard_keep";
/// Checks a value that becomes part of a namespace.
pub(super) const KEEP_IN: &str = "__guard_keep_in";
/// Checks what a loop goes over.
pub(super) const KEEP_LOOP: &str = "__guard_keep_loop";
/// Checks a number that a text or a list is repeated by.
pub(super) const FACTOR: &str = "__guard_factor";
/// Counts text that is copied to the output.
pub(super) const COUNT: &str = "__guard_count";

/// Why a template is not used; `line` counts from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// Puts the checks into a template.
///
/// # Errors
/// [`Rejection`]: something never ends, or cannot be bounded and is in no chat template.
pub(super) fn guarded(source: &str) -> Result<String, Rejection> {
    let pieces = pieces(source).map_err(|Unclosed { what, at }| {
        rejection(source, at, format!("a {what} is not closed"))
    })?;
    let mut edits = Edits {
        source,
        edits: Vec::new(),
    };
    for piece in &pieces {
        match piece {
            Piece::Comment => {}
            Piece::Text(place) => edits.count_text(place)?,
            Piece::Raw(place) if place.len() > MAX_RAW_BYTES => {
                let reason = format!("a raw block is longer than {MAX_RAW_BYTES} bytes");
                return Err(rejection(source, place.start, reason));
            }
            Piece::Raw(_) => {}
            Piece::Expression(tag) => edits.bound_operators(tag)?,
            Piece::Statement(tag) => {
                edits.bound_operators(tag)?;
                edits.bound_names(tag)?;
            }
        }
    }
    Ok(edits.applied())
}

fn rejection(source: &str, at: usize, reason: impl Into<String>) -> Rejection {
    Rejection {
        line: source[..at].matches('\n').count() + 1,
        reason: reason.into(),
    }
}

/// Texts to put in the place of others.
struct Edits<'s> {
    source: &'s str,
    edits: Vec<(Range<usize>, String)>,
}

impl Edits<'_> {
    fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.edits.push((at..at, text.into()));
    }

    /// Those at one place stay in the order in which they were made.
    fn applied(mut self) -> String {
        self.edits.sort_by_key(|(place, _)| place.start);
        let mut text = String::with_capacity(self.source.len() * 2);
        let mut at = 0;
        for (place, replacement) in &self.edits {
            text.push_str(&self.source[at..place.start]);
            text.push_str(replacement);
            at = place.end;
        }
        text.push_str(&self.source[at..]);
        text
    }

    fn text(&self, token: &Token) -> &str {
        token.text(self.source)
    }

    fn is(&self, token: Option<&Token>, text: &str) -> bool {
        token.is_some_and(|token| self.text(token) == text)
    }

    /// Before the last character that is no blank: what tags on both sides strip stays as it was.
    fn count_text(&mut self, place: &Range<usize>) -> Result<(), Rejection> {
        if place.len() < MIN_COUNTED_BYTES {
            return Ok(());
        }
        let text = &self.source[place.clone()];
        let trimmed = text.trim_end();
        let last = trimmed.char_indices().next_back().map(|(at, _)| at);
        match last {
            Some(last) if !trimmed[..last].trim().is_empty() => {
                self.insert(
                    place.start + last,
                    format!("{{{{ {COUNT}({}) }}}}", place.len()),
                );
                Ok(())
            }
            _ if place.len() <= MAX_BLANK_BYTES => Ok(()),
            _ => {
                let reason = format!("more than {MAX_BLANK_BYTES} blanks in a row");
                Err(rejection(self.source, place.start, reason))
            }
        }
    }

    fn bound_operators(&mut self, tag: &Tag) -> Result<(), Rejection> {
        let mut repetitions = 0;
        let mut joints = 0;
        for (index, token) in tag.tokens.iter().enumerate() {
            let text = self.text(token);
            if token.kind == TokenKind::Name && text.starts_with(RESERVED) {
                let reason = format!("names that begin with {RESERVED} are taken");
                return Err(rejection(self.source, token.place.start, reason));
            }
            if token.kind != TokenKind::Operator {
                continue;
            }
            match text {
                "~" | "+" => joints += 1,
                "*" if index > 0 && !self.is_opening(&tag.tokens[index - 1]) => {
                    repetitions += 1;
                    let left = tag.tokens[index - 1].place.end;
                    self.insert(left, format!("|{FACTOR}"));
                    if let Some(right) = self.operand_end(&tag.tokens, index + 1) {
                        self.insert(right, format!("|{FACTOR}"));
                    }
                }
                _ => {}
            }
            if repetitions > MAX_REPETITIONS || joints > MAX_JOINTS {
                let reason = format!(
                    "more than {MAX_REPETITIONS} `*`, or {MAX_JOINTS} `~` and `+`, in one tag"
                );
                return Err(rejection(self.source, token.place.start, reason));
            }
        }
        Ok(())
    }

    /// Whether what follows begins an operand, so that a `*` there would unpack and not multiply.
    fn is_opening(&self, token: &Token) -> bool {
        matches!(self.text(token), "(" | "[" | "{" | ",")
    }

    /// End of the operand that begins with a token: signs, a value, and what is asked of it.
    fn operand_end(&self, tokens: &[Token], mut index: usize) -> Option<usize> {
        while matches!(
            tokens.get(index).map(|token| self.text(token)),
            Some("-" | "+")
        ) {
            index += 1;
        }
        let mut last = self.group_end(tokens, index)?;
        loop {
            let next = tokens.get(last + 1).map(|token| self.text(token));
            last = match next {
                Some("." | "|") if last + 2 < tokens.len() => last + 2,
                Some("(" | "[") => self.group_end(tokens, last + 1)?,
                _ => return tokens.get(last).map(|token| token.place.end),
            };
        }
    }

    /// Index of the bracket that closes the one at `index`, or `index` itself.
    fn group_end(&self, tokens: &[Token], index: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (at, token) in tokens.iter().enumerate().skip(index) {
            match self.text(token) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth == 0 {
                return Some(at);
            }
        }
        None
    }

    fn bound_names(&mut self, tag: &Tag) -> Result<(), Rejection> {
        let Some((first, rest)) = tag.tokens.split_first() else {
            return Ok(());
        };
        match (self.text(first), rest) {
            ("generation", []) => self.edits.push((first.place.clone(), "with".to_owned())),
            ("endgeneration", []) => self.edits.push((first.place.clone(), "endwith".to_owned())),
            ("set", _) => self.bound_set(rest, tag),
            ("for", _) => return self.bound_loop(rest, tag),
            ("with", _) => self.check_behind(tag, &self.with_names(rest)),
            ("macro", _) => self.check_behind(tag, &self.parameters(rest.get(1..))),
            ("call", _) => self.check_behind(tag, &self.parameters(Some(rest))),
            _ => {}
        }
        Ok(())
    }

    fn wrap(&mut self, check: &str, tokens: &[Token]) {
        if let (Some(first), Some(last)) = (tokens.first(), tokens.last()) {
            self.insert(first.place.start, format!("{check}(("));
            self.insert(last.place.end, "))");
        }
    }

    /// The tokens of `tokens` that are in no bracket, with their index.
    fn outer<'t>(&self, tokens: &'t [Token]) -> Vec<(usize, &'t Token)> {
        let mut depth = 0_i64;
        let mut outer = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            match self.text(token) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ if depth == 0 => outer.push((index, token)),
                _ => {}
            }
        }
        outer
    }

    fn bound_set(&mut self, rest: &[Token], tag: &Tag) {
        let outer = self.outer(rest);
        let Some((at, _)) = outer.iter().find(|(_, token)| self.text(token) == "=") else {
            // A block: what it captures was counted.
            return;
        };
        let is_attribute = outer
            .iter()
            .any(|(index, token)| index < at && self.text(token) == ".");
        let value = &tag.tokens[at + 2..];
        self.wrap(if is_attribute { KEEP_IN } else { KEEP }, value);
    }

    fn bound_loop(&mut self, rest: &[Token], tag: &Tag) -> Result<(), Rejection> {
        let outer = self.outer(rest);
        if self.is(rest.last(), "recursive") && outer.len() > 3 {
            let reason = "recursive loops are not supported: use a macro";
            return Err(rejection(self.source, tag.close.start, reason));
        }
        let position = |word: &str, from: usize| {
            let found = outer
                .iter()
                .find(|(index, token)| *index >= from && self.text(token) == word);
            found.map(|(index, _)| *index)
        };
        let Some(start) = position("in", 0).map(|at| at + 1) else {
            return Ok(());
        };
        let end = position("if", start).unwrap_or(rest.len());
        if let Some(iterated) = rest.get(start..end) {
            self.wrap(KEEP_LOOP, iterated);
        }
        Ok(())
    }

    fn with_names(&self, rest: &[Token]) -> Vec<String> {
        let outer = self.outer(rest);
        let names = outer
            .windows(2)
            .filter(|pair| pair[0].1.kind == TokenKind::Name && self.text(pair[1].1) == "=");
        names.map(|pair| self.text(pair[0].1).to_owned()).collect()
    }

    /// Parameters in the brackets that `tokens` begin with.
    fn parameters(&self, tokens: Option<&[Token]>) -> Vec<String> {
        let Some(tokens) = tokens.filter(|tokens| self.is(tokens.first(), "(")) else {
            return Vec::new();
        };
        let end = self.group_end(tokens, 0).unwrap_or(tokens.len());
        let inside = &tokens[1..end];
        let mut names = Vec::new();
        let mut begins = true;
        for (_, token) in self.outer(inside) {
            if begins && token.kind == TokenKind::Name {
                names.push(self.text(token).to_owned());
            }
            begins = self.text(token) == ",";
        }
        names
    }

    /// Checks names right behind a tag, whose end mark moves behind the last check.
    fn check_behind(&mut self, tag: &Tag, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let close = &self.source[tag.close.clone()];
        let checks: Vec<String> = names
            .iter()
            .map(|name| format!(" %}}{{% set {name} = {KEEP}({name})"))
            .collect();
        self.edits
            .push((tag.close.clone(), format!("{} {close}", checks.concat())));
    }
}

/// Texts from this length on are counted as they are copied: shorter ones are bounded by fuel alone.
const MIN_COUNTED_BYTES: usize = 64;

/// Longest run of blanks between two tags: no place in it takes a count.
const MAX_BLANK_BYTES: usize = 512;

/// Longest raw block, which takes no count either.
const MAX_RAW_BYTES: usize = 512;

/// `*` in one tag: each can make a text of 100 MB, by minijinja's limit, before it is checked.
const MAX_REPETITIONS: usize = 2;

/// `~` and `+` in one tag, each of which adds one bounded value.
const MAX_JOINTS: usize = 256;
