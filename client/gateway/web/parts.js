// Small parts that several views use.

import { html, useEffect, useState } from "./vendor/htm-preact.js";
import { Icon } from "./icons.js";

const COPIED_MS = 2000;

/** Calls back once a second while it is on the screen. */
export function useSeconds() {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

export function age(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Over plain HTTP from another machine there is no clipboard object.
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "offscreen";
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (!isCopied) throw new Error("the browser does not copy");
}

export function CopyButton({ text, label = "Copy" }) {
  const [state, setState] = useState("ready");
  useEffect(() => {
    if (state === "ready") return undefined;
    const timer = setTimeout(() => setState("ready"), COPIED_MS);
    return () => clearTimeout(timer);
  }, [state]);
  const press = () => copy(text).then(
    () => setState("copied"),
    () => setState("refused"),
  );
  const word = { ready: label, copied: "Copied", refused: "Select it and press Ctrl+C" }[state];
  return html`
    <button type="button" class="quiet" onClick=${press}>
      <${Icon} name=${state === "copied" ? "check" : "copy"} /><span aria-live="polite">${word}</span>
    </button>
  `;
}

/** A command that wraps, with a button that copies it. */
export const Command = ({ text }) => html`
  <div class="command">
    <pre tabindex="0" aria-label="Command"><code>${text}</code></pre>
    <${CopyButton} text=${text} />
  </div>
`;

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** A figure short enough for a table: 6.1, 310, 21.3k. */
export function figure(value) {
  if (value === null) return "–";
  if (Math.abs(value) >= 10_000) return compact.format(value).replace("K", "k");
  return Math.abs(value) >= 100 || Number.isInteger(value) ? whole.format(value) : tenths.format(value);
}

export const seconds = (value) => (value === null ? "–" : `${value < 0.095 ? value.toFixed(2) : tenths.format(value)} s`);

export const count = (number, one, many = `${one}s`) => `${whole.format(number)} ${number === 1 ? one : many}`;
