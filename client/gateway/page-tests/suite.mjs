// One browser and one scripted gateway per file of tests.

import { after, before, beforeEach } from "node:test";
import { MockGateway } from "./mock.mjs";
import { Tab, launch } from "./page.mjs";
import { scriptFor } from "./states.mjs";

export function suite() {
  const shared = { mock: null, browser: null };
  before(async () => {
    shared.mock = await new MockGateway().listen();
    shared.browser = await launch();
  });
  beforeEach(() => shared.mock.reset());
  after(async () => {
    await shared.browser?.close();
    await shared.mock?.close();
  });

  /** Scripts the gateway, opens the page, runs the steps, and looks whether anything went wrong on the way. */
  shared.visit = async (state, steps) => {
    const { mock, browser } = shared;
    mock.script = scriptFor(state);
    const tab = await Tab.open(browser, mock.url, { path: state.path, key: state.key, ...state.options });
    await steps(tab, mock);
    await tab.close();
  };
  return shared;
}

/** A gate that a script waits at until the test opens it. */
export function gate() {
  let open;
  const passed = new Promise((resolve) => (open = resolve));
  return { wait: () => passed, open };
}
