import { html } from "./vendor/htm-preact.js";
import { Logo, Shape } from "./icons.js";
import { age, useSeconds } from "./parts.js";

/** How the page hears of the swarm, in words. */
const LINKS = {
  connecting: { word: "Connecting…", shape: "none" },
  live: { word: "Live", shape: "good" },
  polling: { word: "Polling", shape: "part", why: "No live updates just now; the page asks every few seconds." },
  reconnecting: { word: "Reconnecting…", shape: "warn", why: "The gateway does not answer. What you see may be old." },
  locked: { word: "Key needed", shape: "none" },
};

function Age({ at }) {
  const now = useSeconds();
  return html`<span class="age">${age(now - at)}</span>`;
}

export function Header({ state, views }) {
  const { word, shape, why } = LINKS[state.link];
  return html`
    <header class="header">
      <a class="brand" href="#/chat" aria-label="swarm, chat"><${Logo} /><span>swarm</span></a>
      <nav aria-label="Views">
        ${Object.entries(views).map(
          ([name, title]) => html`
            <a key=${name} href="#/${name}" aria-current=${state.view === name ? "page" : null}>${title}</a>
          `,
        )}
      </nav>
      <p class="link" title=${why ?? null}>
        <${Shape} kind=${shape} />
        <span class="word" role="status">${word}</span>
        ${state.freshAt !== null && state.link !== "locked" && html`<${Age} at=${state.freshAt} />`}
      </p>
    </header>
  `;
}
