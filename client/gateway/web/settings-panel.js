import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { key } from "./gateway.js";
import { Icon } from "./icons.js";
import { NUMBERS } from "./settings.js";

function NumberField({ field, value, onChange }) {
  const [text, setText] = useState(value === undefined ? "" : String(value));
  const number = Number(text);
  const isWrong =
    text.trim() !== "" &&
    !(number >= field.min && number <= field.max && (field.step !== 1 || Number.isInteger(number)));
  const write = (event) => {
    setText(event.currentTarget.value);
    onChange(event.currentTarget.value);
  };
  const help = isWrong ? `From ${field.min} to ${field.max}${field.step === 1 ? ", whole" : ""}.` : field.help;
  return html`
    <div class="field">
      <label for="set-${field.name}">${field.label}</label>
      <input
        id="set-${field.name}"
        inputmode="decimal"
        autocomplete="off"
        placeholder="model's choice"
        value=${text}
        onInput=${write}
        aria-invalid=${isWrong ? "true" : null}
        aria-describedby="help-${field.name}"
      />
      <p id="help-${field.name}" class=${isWrong ? "wrong" : "muted"}>${help}</p>
    </div>
  `;
}

/** A sheet over the chat. Changes count at once, for the next question. */
export function SettingsPanel({ store, live, settings, isOpen, onClose }) {
  const sheet = useRef(null);
  const [edition, setEdition] = useState(0);
  useEffect(() => {
    if (isOpen) sheet.current.showModal();
    else sheet.current.close();
  }, [isOpen]);

  const change = (write) => {
    write();
    settings.keep();
    store.touch();
  };
  const reset = () => {
    settings.reset();
    setEdition(edition + 1);
    store.touch();
  };
  const forgetKey = () => {
    key.forget();
    onClose();
    live.stop();
    store.set({ needsKey: true, keyWasWrong: false, link: "locked" });
  };
  const onBackdrop = (event) => {
    if (event.target === sheet.current) onClose();
  };

  return html`
    <dialog class="sheet" ref=${sheet} aria-labelledby="settings-title" onClose=${onClose} onClick=${onBackdrop}>
      <form class="sheet-body" key=${edition} onSubmit=${(event) => (event.preventDefault(), onClose())}>
        <div class="sheet-head">
          <h2 id="settings-title">Settings</h2>
          <button type="button" class="quiet square" aria-label="Close" onClick=${onClose}><${Icon} name="close" /></button>
        </div>
        <div class="field">
          <label for="set-system">System prompt</label>
          <textarea
            id="set-system"
            rows="4"
            placeholder="How the model should behave"
            aria-describedby="help-system"
            value=${settings.system}
            onInput=${(event) => change(() => (settings.system = event.currentTarget.value))}
          />
          <p id="help-system" class="muted">Goes before the conversation with every question.</p>
        </div>
        ${NUMBERS.map(
          (field) => html`
            <${NumberField}
              key=${field.name}
              field=${field}
              value=${settings.values[field.name]}
              onChange=${(text) => change(() => settings.change(field.name, text))}
            />
          `,
        )}
        <div class="sheet-foot">
          <button type="button" class="secondary" disabled=${settings.changedCount === 0} onClick=${reset}>Reset</button>
          <button type="submit" class="primary">Done</button>
        </div>
        ${key.read() !== "" &&
        html`
          <div class="field key-kept">
            <p class="muted">This tab keeps a key for the gateway.</p>
            <button type="button" class="secondary" onClick=${forgetKey}>Forget the key</button>
          </div>
        `}
      </form>
    </dialog>
  `;
}
