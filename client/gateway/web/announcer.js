import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { sentenceEnd } from "./prose.js";

/** Sentences kept for a screen reader; it reads each once, when it appears. */
const KEPT = 12;

/** Reads a growing answer aloud sentence by sentence. The transcript itself changes with every token and is silent. */
export function Announcer({ answer }) {
  const [sentences, setSentences] = useState([]);
  const said = useRef({ id: null, upTo: 0, serial: 0 });
  const isRunning = answer?.state === "waiting" || answer?.state === "streaming";

  useEffect(() => {
    if (answer === null) return;
    // An answer that was already complete when this view was opened is not read out again.
    if (said.current.id !== answer.id) {
      said.current = { id: answer.id, upTo: isRunning ? 0 : answer.text.length, serial: said.current.serial };
    }
    const end = isRunning ? sentenceEnd(answer.text, said.current.upTo) : answer.text.length;
    const fresh = answer.text.slice(said.current.upTo, end).trim();
    said.current.upTo = end;
    if (fresh === "") return;
    const entry = { key: (said.current.serial += 1), text: fresh };
    setSentences((known) => [...known, entry].slice(-KEPT));
  }, [answer?.id, answer?.text, answer?.state]);

  return html`
    <div class="offscreen" role="log" aria-live="polite" aria-label="Answer, as it is written">
      ${sentences.map((sentence) => html`<p key=${sentence.key}>${sentence.text}</p>`)}
    </div>
  `;
}
