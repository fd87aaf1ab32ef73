// Every designed state, light and dark, wide and narrow: no accessibility violation, no sideways scrolling.

import { test } from "node:test";
import { STATES } from "./states.mjs";
import { suite } from "./suite.mjs";

const { visit } = suite();

/** What is measured is where things come to rest. */
const options = { reducedMotion: "reduce" };

for (const [name, state] of Object.entries(STATES)) {
  test(`${name} is accessible in light and dark and fits a phone`, () =>
    visit({ ...state, options }, async (tab, mock) => {
      await state.reach(tab, mock);
      await tab.expectNoSidewaysScroll(`${name} at 1280 pixels`);
      for (const colorScheme of state.isLarge ? ["dark"] : ["light", "dark"]) {
        await tab.page.emulateMedia({ colorScheme });
        await tab.expectAccessible(`${name}, ${colorScheme}`);
      }
      await tab.page.setViewportSize({ width: 320, height: 640 });
      await tab.expectNoSidewaysScroll(`${name} at 320 pixels`);
      if (!state.isLarge) await tab.expectAccessible(`${name} at 320 pixels`);
    }));
}
