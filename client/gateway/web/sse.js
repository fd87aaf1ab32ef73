// Server-sent events out of a response body. EventSource cannot send a key or a POST, so `fetch` is read by hand.

/** Longest event kept, in characters: a topology of 200 servers is about 100,000. */
const MAX_EVENT_CHARS = 8_000_000;

/** Cuts text, however it is split, into events. Lines may end in LF, CRLF or CR. */
export class SseParser {
  #line = "";
  #afterCarriageReturn = false;
  #event = "";
  #data = [];
  #held = 0;
  #onEvent;

  /** @param onEvent called with `{ event, data }`; `event` is "message" when the stream names none. */
  constructor(onEvent) {
    this.#onEvent = onEvent;
  }

  push(text) {
    if (this.#afterCarriageReturn && text.startsWith("\n")) text = text.slice(1);
    if (text === "") return;
    this.#afterCarriageReturn = text.endsWith("\r");
    const lines = (this.#line + text).split(/\r\n|\n|\r/);
    this.#line = lines.pop();
    if (this.#line.length + this.#held > MAX_EVENT_CHARS) throw new Error("an event is too long");
    for (const line of lines) this.#takeLine(line);
  }

  #takeLine(line) {
    if (line === "") {
      if (this.#data.length > 0) this.#onEvent({ event: this.#event || "message", data: this.#data.join("\n") });
      this.#event = "";
      this.#data = [];
      this.#held = 0;
      return;
    }
    if (line.startsWith(":")) return;
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    if (field === "data") {
      this.#data.push(value);
      this.#held += value.length;
      if (this.#held > MAX_EVENT_CHARS) throw new Error("an event is too long");
    }
  }
}

/** Reads events to the end of the body. `onBytes` hears of every piece, so that silence can be told from pings. */
export async function readEvents(response, onEvent, onBytes = () => {}) {
  const parser = new SseParser(onEvent);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onBytes();
    parser.push(value);
  }
}
