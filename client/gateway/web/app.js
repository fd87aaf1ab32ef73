// The page: three views behind one header, drawn from one state.

import { html, render, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { About } from "./about.js";
import { Chat } from "./chat.js";
import { Conversation } from "./conversation.js";
import { Header } from "./header.js";
import { KeyForm } from "./key-form.js";
import { Live } from "./live.js";
import { Measurements } from "./measurements.js";
import { Settings } from "./settings.js";
import { Store } from "./store.js";
import { Swarm } from "./swarm.js";

const VIEWS = { chat: "Chat", swarm: "Swarm", about: "About" };

const viewOfAddress = () => {
  const name = location.hash.replace(/^#\/?/, "");
  return name in VIEWS ? name : "chat";
};

const store = new Store({
  view: viewOfAddress(),
  models: null,
  topology: null,
  /** The model of the chat, as the gateway names it. */
  chosen: null,
  /** The model of the map, where another one was chosen there; it may be one that this gateway does not serve. */
  mapped: null,
  link: "connecting",
  freshAt: null,
  needsKey: false,
  keyWasWrong: false,
  info: null,
});
const measurements = new Measurements();
const settings = Settings.restore();
const conversation = new Conversation(
  () => store.touch(),
  (account) => measurements.add(account),
);
const live = new Live(store, measurements);

function Page() {
  const [, draw] = useState(0);
  const main = useRef(null);
  const isFirst = useRef(true);
  useEffect(() => store.subscribe(() => draw((frame) => frame + 1)), []);
  const { view, needsKey } = store.state;
  useEffect(() => {
    document.title = `${VIEWS[view]} · swarm`;
    // As after following a link to another page; not when the page has just been opened.
    if (!isFirst.current) {
      window.scrollTo(0, 0);
      main.current.focus({ preventScroll: true });
    }
    isFirst.current = false;
  }, [view]);
  const shared = { state: store.state, store, live, conversation, settings, measurements };
  const views = { chat: Chat, swarm: Swarm, about: About };
  const isLocked = needsKey && view !== "about";
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), main.current.focus())}>Skip to content</a>
    <${Header} ...${shared} views=${VIEWS} />
    <main id="main" class=${isLocked ? "locked" : view} tabindex="-1" ref=${main}>
      ${isLocked ? html`<${KeyForm} ...${shared} />` : html`<${views[view]} ...${shared} />`}
    </main>
  `;
}

window.addEventListener("hashchange", () => store.set({ view: viewOfAddress() }));
window.addEventListener("online", () => live.start());
render(html`<${Page} />`, document.getElementById("page"));
live.start();
