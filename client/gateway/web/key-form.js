import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { key } from "./gateway.js";
import { Icon } from "./icons.js";

/** Asks for the gateway's key, once per tab. */
export function KeyForm({ state, store, live }) {
  const [text, setText] = useState("");
  const field = useRef(null);
  useEffect(() => field.current.focus(), [state.keyWasWrong]);
  const submit = (event) => {
    event.preventDefault();
    if (text.trim() === "") return;
    key.keep(text.trim());
    store.set({ needsKey: false, keyWasWrong: false, link: "connecting" });
    live.start();
  };
  return html`
    <form class="key-form card" onSubmit=${submit}>
      <span class="badge"><${Icon} name="key" /></span>
      <h1>This gateway asks for a key</h1>
      <p class="muted">
        Whoever runs it hands them out. The key stays in this tab and goes to this gateway only; closing the tab forgets
        it.
      </p>
      <label for="key">Key</label>
      <div class="field-row">
        <input
          id="key"
          ref=${field}
          type="password"
          autocomplete="off"
          autocapitalize="off"
          spellcheck=${false}
          value=${text}
          onInput=${(event) => setText(event.currentTarget.value)}
          aria-invalid=${state.keyWasWrong ? "true" : null}
          aria-describedby=${state.keyWasWrong ? "key-wrong" : null}
        />
        <button type="submit" class="primary">Continue</button>
      </div>
      ${state.keyWasWrong && html`<p id="key-wrong" class="wrong" role="alert">The gateway does not accept this key.</p>`}
    </form>
  `;
}
