import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { Icon, StopIcon } from "./icons.js";
import { isPlainModel } from "./model-picker.js";

/** Where the focus goes when the button that had it disappears. On a phone it would bring up the keyboard. */
export function focusMessage() {
  if (matchMedia("(pointer: fine)").matches) document.getElementById("message").focus({ preventScroll: true });
}

export function Composer({ state, conversation, isReady, onSend }) {
  const [text, setText] = useState(conversation.draft);
  const field = useRef(null);
  const { isAnswering, messages } = conversation;

  // As high as its text, up to the height that the style sheet allows.
  useLayoutEffect(() => {
    field.current.style.height = "auto";
    field.current.style.height = `${field.current.scrollHeight}px`;
  }, [text]);
  useEffect(() => {
    if (messages.length === 0) focusMessage();
  }, [messages.length === 0]);

  const write = (value) => {
    conversation.draft = value;
    setText(value);
  };
  const submit = (event) => {
    event?.preventDefault();
    if (!isReady || text.trim() === "") return;
    onSend(text);
    write("");
    focusMessage();
  };
  const stop = () => {
    conversation.stop();
    focusMessage();
  };
  const onKeyDown = (event) => {
    // Enter that ends the input of a Japanese or Chinese word is not meant for us.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  };

  return html`
    <form class="composer" onSubmit=${submit}>
      <div class="box">
        <label class="offscreen" for="message">Message</label>
        <textarea
          id="message"
          ref=${field}
          rows="1"
          placeholder=${isPlainModel(state) ? "Begin a text" : "Message"}
          aria-describedby="message-help"
          value=${text}
          onInput=${(event) => write(event.currentTarget.value)}
          onKeyDown=${onKeyDown}
        />
        ${isAnswering
          ? html`<button type="button" key="stop" class="round" onClick=${stop} aria-label="Stop" title="Stop (Esc)">
              <${StopIcon} />
            </button>`
          : html`<button type="submit" key="send" class="round primary" aria-label="Send" title="Send (Enter)" disabled=${!isReady || text.trim() === ""}>
              <${Icon} name="send" />
            </button>`}
      </div>
      <p class="hint">
        <span id="message-help" class="offscreen">Enter sends, Shift and Enter begins a new line, Escape stops.</span>
        Servers on the route see numbers made from your text and could recover it.
        ${" "}<a href="#/about">Who sees what</a>
        ${state.info?.logsPrompts && html`${" "}<strong>This gateway writes prompts and answers to its log.</strong>`}
      </p>
    </form>
  `;
}
