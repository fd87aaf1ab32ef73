// Every state of the page that is designed: how the gateway is scripted, and what must be on the screen.

import { scenario } from "./mock.mjs";
import * as worlds from "./worlds.mjs";

const forever = () => new Promise(() => {});

export async function ask(tab, text = "What is a pipeline?") {
  const field = tab.page.getByLabel("Message", { exact: true });
  await field.fill(text);
  await field.press("Enter");
}

/** Closes the settings. The sheet gives the focus back when it closes, which may be after the click. */
export async function closeSettings(tab) {
  await tab.page.getByRole("button", { name: "Done" }).click();
  await tab.page.locator("dialog[open]").waitFor({ state: "hidden" });
}

async function askAndSee(tab, text) {
  await ask(tab);
  await tab.expectText(text);
}

const refusing = (status, code, headers) => () => ({ chat: [{ status, code, message: "no", headers }] });

/** `world` makes models and topology, `script` scripts the gateway beyond them, `reach` brings the page there. */
export const STATES = {
  welcome: { reach: (tab) => tab.expectText("What would you like to ask?") },
  story: { world: worlds.story, reach: (tab) => tab.expectText("How does the text begin?") },
  waiting: {
    script: () => ({ chat: [forever] }),
    reach: async (tab) => {
      await ask(tab);
      await tab.page.locator(".dots").waitFor();
    },
  },
  streaming: {
    script: () => ({ chat: [...worlds.ANSWER.slice(0, 8), forever] }),
    reach: (tab) => askAndSee(tab, "in order"),
  },
  answer: {
    script: (topology) => ({ chat: worlds.ANSWER, account: worlds.routeOf(topology, [[0, "0:20"], [1, "20:32"]]) }),
    reach: (tab) => askAndSee(tab, "6.1 tok/s"),
  },
  failed: {
    script: () => ({ chat: ["A pipeline splits one model into", { error: "route_lost", message: "gave up" }] }),
    reach: (tab) => askAndSee(tab, "went away"),
  },
  queue: {
    script: refusing(429, "queue_full", { "retry-after": "8" }),
    reach: (tab) => askAndSee(tab, "hands full"),
  },
  settings: {
    reach: async (tab) => {
      await tab.page.getByRole("button", { name: "Settings" }).click();
      await tab.page.getByLabel("Temperature").fill("0.7");
    },
  },
  key: { script: () => ({ key: "secret" }), reach: (tab) => tab.expectText("asks for a key") },
  "broken-chat": { world: worlds.broken, reach: (tab) => tab.expectText("cannot answer just now") },
  swarm: { path: "#/swarm", reach: (tab) => tab.expectText("Coverage") },
  broken: { world: worlds.broken, path: "#/swarm", reach: (tab) => tab.expectText("fill the gaps") },
  empty: { world: worlds.empty, path: "#/swarm", reach: (tab) => tab.expectText("Nobody serves") },
  nothing: { world: worlds.nothing, path: "#/swarm", reach: (tab) => tab.expectText("The swarm is empty") },
  loading: {
    path: "#/swarm",
    script: () => ({ until: forever() }),
    reach: (tab) => tab.expectText("Looking at the swarm"),
  },
  reconnecting: {
    path: "#/swarm",
    reach: async (tab, mock) => {
      await tab.expectText("Coverage");
      mock.script.events = "down";
      mock.cutEvents();
      await tab.expectLink("Reconnecting…");
    },
  },
  details: {
    path: "#/swarm",
    reach: async (tab) => {
      await tab.page.getByRole("button", { name: /^alice/ }).click();
      await tab.expectText("Precision");
    },
  },
  // Its 200 rows are alike: the accessibility rules look at them once.
  large: { isLarge: true, world: worlds.large, path: "#/swarm", reach: (tab) => tab.expectText("Coverage") },
  hostile: { world: worlds.hostile, path: "#/swarm", reach: (tab) => tab.expectText("Coverage") },
  about: { path: "#/about", reach: (tab) => tab.expectText("What is sent to whom") },
};

/** The gateway, as a state wants it. */
export function scriptFor({ world = worlds.healthy, script }) {
  const made = world();
  return { ...scenario(), ...made, ...(script?.(made.topology) ?? {}) };
}
