//! Server-sent events from raw bytes.

use serde_json::Value;

use crate::wire::Wire;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Data(Value),
    Done,
    Comment,
}

/// Events of an answer, as they come.
pub(crate) struct Events {
    pub(crate) wire: Wire,
    buffer: Vec<u8>,
}

impl Events {
    pub(crate) fn new(wire: Wire) -> Self {
        if wire.status != 200 {
            let status = wire.status;
            panic!("{status} {}", wire.json());
        }
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(wire.headers.get(name).map(String::as_str), Some(value));
        }
        assert!(!wire.headers.contains_key("content-encoding"));
        Self {
            wire,
            buffer: Vec::new(),
        }
    }

    /// Everything up to the end.
    pub(crate) fn all(self) -> Vec<Event> {
        self.collect()
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let rest = self.buffer.split_off(end + 2);
                let event = std::mem::replace(&mut self.buffer, rest);
                return Some(parse(&event[..end]));
            }
            let bytes = self.wire.some();
            if bytes.is_empty() {
                assert_eq!(self.buffer, b"", "a stream ends with a whole event");
                return None;
            }
            self.buffer.extend(bytes);
        }
    }
}

fn parse(event: &[u8]) -> Event {
    let event = std::str::from_utf8(event).expect("events are whole UTF-8");
    assert!(!event.contains('\n'), "one line each: {event:?}");
    if event.starts_with(':') {
        return Event::Comment;
    }
    let data = event
        .strip_prefix("data: ")
        .unwrap_or_else(|| panic!("{event:?}"));
    if data == "[DONE]" {
        return Event::Done;
    }
    Event::Data(serde_json::from_str(data).unwrap())
}

/// The chunks of a stream that ended well, without comments and the end mark.
pub(crate) fn chunks(events: Vec<Event>) -> Vec<Value> {
    assert_eq!(events.last(), Some(&Event::Done), "{events:?}");
    let data = events.into_iter().filter_map(|event| match event {
        Event::Data(value) => Some(value),
        Event::Done | Event::Comment => None,
    });
    data.collect()
}

/// The text of one choice in chunks of a chat.
pub(crate) fn chat_text(chunks: &[Value], choice: usize) -> String {
    let choices = chunks.iter().filter_map(|chunk| chunk["choices"].get(0));
    choices
        .filter(|one| one["index"] == choice)
        .filter_map(|one| one["delta"]["content"].as_str())
        .collect()
}
