//! A template's pieces: text, and tags in tokens.
//!
//! | piece      | begins | ends                                                  |
//! |------------|--------|-------------------------------------------------------|
//! | expression | `{{`   | `}}` outside of brackets and of text in quotes        |
//! | statement  | `{%`   | `%}`, likewise                                        |
//! | comment    | `{#`   | `#}`, the first one                                   |
//! | raw        | `{%` with `raw` alone in it | the first `{%` with `endraw` alone |
//!
//! Each mark may have `-` or `+` on its inner side. The rules are minijinja's (3.0, `compiler/lexer.rs`), so that no tag
//! is one to it and text to us; where Jinja differs, minijinja refuses the template later.

use std::ops::Range;

/// A part of a template, by its place in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Copied to the output.
    Text(Range<usize>),
    /// A comment with its marks.
    Comment,
    /// A raw block with its tags.
    Raw(Range<usize>),
    /// `{{ … }}`.
    Expression(Tag),
    /// `{% … %}`.
    Statement(Tag),
}

/// What is between two marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) tokens: Vec<Token>,
    /// The mark at the end, with its sign.
    pub(super) close: Range<usize>,
}

/// A word of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) place: Range<usize>,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Name,
    Number,
    Text,
    Operator,
}

/// Why a source has no pieces; `at` is a byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unclosed {
    pub(super) what: &'static str,
    pub(super) at: usize,
}

impl Token {
    pub(super) fn text<'s>(&self, source: &'s str) -> &'s str {
        &source[self.place.clone()]
    }
}

/// Cuts a template in pieces.
///
/// # Errors
/// [`Unclosed`]: a tag, a comment, a raw block or a text in quotes that never ends.
pub(super) fn pieces(source: &str) -> Result<Vec<Piece>, Unclosed> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let (start, mark) = next_mark(source, at);
        if start > at {
            pieces.push(Piece::Text(at..start));
        }
        at = match mark {
            None => start,
            Some(Mark::Comment) => {
                let end = source[start + 2..].find("#}");
                let end = end.ok_or_else(|| unclosed("comment", start))?;
                pieces.push(Piece::Comment);
                start + 2 + end + 2
            }
            Some(Mark::Statement) if let Some(body) = lone_word(source, start + 2, "raw") => {
                let end = end_of_raw(source, body).ok_or_else(|| unclosed("raw block", start))?;
                pieces.push(Piece::Raw(start..end));
                end
            }
            Some(mark) => {
                let tag = tag(source, start, mark)?;
                let end = tag.close.end;
                pieces.push(if mark == Mark::Expression {
                    Piece::Expression(tag)
                } else {
                    Piece::Statement(tag)
                });
                end
            }
        };
    }
    Ok(pieces)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Expression,
    Statement,
    Comment,
}

fn unclosed(what: &'static str, at: usize) -> Unclosed {
    Unclosed { what, at }
}

/// The next mark from `at` on, or the end of the source.
fn next_mark(source: &str, at: usize) -> (usize, Option<Mark>) {
    let bytes = source.as_bytes();
    for (offset, pair) in bytes[at..].windows(2).enumerate() {
        let mark = match pair {
            b"{{" => Mark::Expression,
            b"{%" => Mark::Statement,
            b"{#" => Mark::Comment,
            _ => continue,
        };
        return (at + offset, Some(mark));
    }
    (source.len(), None)
}

/// The end of a statement's tag if all that it has is `word`; `at` is behind its opening mark.
fn lone_word(source: &str, at: usize, word: &str) -> Option<usize> {
    let rest = &source[at..];
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let rest = rest.trim_start_matches(is_blank).strip_prefix(word)?;
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let rest = rest.strip_prefix("%}")?;
    Some(source.len() - rest.len())
}

fn end_of_raw(source: &str, body: usize) -> Option<usize> {
    let mut at = body;
    loop {
        at += source[at..].find("{%")? + 2;
        if let Some(end) = lone_word(source, at, "endraw") {
            return Some(end);
        }
    }
}

/// Blanks between tokens are ASCII ones.
fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace()
}

fn tag(source: &str, start: usize, mark: Mark) -> Result<Tag, Unclosed> {
    let bytes = source.as_bytes();
    let end_mark: &[u8] = if mark == Mark::Expression {
        b"}}"
    } else {
        b"%}"
    };
    let mut tokens = Vec::new();
    let mut depth = 0_i64;
    let mut at = start + 2;
    if matches!(bytes.get(at), Some(b'-' | b'+')) {
        at += 1;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if depth == 0 {
            let sign = usize::from(matches!(byte, b'-' | b'+'));
            if bytes[at + sign..].starts_with(end_mark) {
                let close = at..at + sign + 2;
                return Ok(Tag { tokens, close });
            }
        }
        let (kind, length) = match byte {
            b'\'' | b'"' => {
                let length = quoted(&bytes[at..]).ok_or_else(|| unclosed("text in quotes", at))?;
                (TokenKind::Text, length)
            }
            b'0'..=b'9' => (TokenKind::Number, name(&bytes[at..])),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => (TokenKind::Name, name(&bytes[at..])),
            _ => (TokenKind::Operator, operator(&source[at..])),
        };
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        let place = at..at + length;
        at = place.end;
        tokens.push(Token { kind, place });
    }
    Err(unclosed("tag", start))
}

/// Length of a text in quotes, with them; a backslash hides what follows it.
fn quoted(bytes: &[u8]) -> Option<usize> {
    let quote = *bytes.first()?;
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\\' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Length of a name, or of a number's digits.
fn name(bytes: &[u8]) -> usize {
    let belongs = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    bytes.iter().take_while(belongs).count()
}

/// Length of an operator, or of a character that no token can begin with.
fn operator(rest: &str) -> usize {
    let two = ["//", "**", "==", "!=", ">=", "<="];
    if two.iter().any(|operator| rest.starts_with(operator)) {
        return 2;
    }
    rest.chars().next().map_or(1, char::len_utf8)
}
