// The checks themselves find what they are there to find.

import assert from "node:assert/strict";
import { test } from "node:test";
import { STATES } from "./states.mjs";
import { suite } from "./suite.mjs";

const { visit } = suite();

const VIOLATIONS = {
  "an inline script": () => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'ran'";
    document.body.append(script);
  },
  "a style attribute": () => document.body.setAttribute("style", "color: red"),
  "text as HTML": () => (document.body.innerHTML = "<b>bold</b>"),
  "another host": () => fetch("https://example.invalid/").catch(() => {}),
  "an image of another host": () => (new Image().src = "https://example.invalid/pixel.png"),
};

for (const [name, violate] of Object.entries(VIOLATIONS)) {
  test(`${name} fails a test`, async () => {
    await assert.rejects(
      visit(STATES.welcome, async (tab) => {
        await STATES.welcome.reach(tab);
        await tab.page.evaluate(violate).catch(() => {});
        await assert.doesNotReject(async () => {
          while (tab.problems.length === 0) await tab.page.evaluate(() => new Promise(requestAnimationFrame));
        });
      }),
      /policy|console|error/,
    );
  });
}

test("pale text and a field without a name are accessibility violations", () =>
  visit(STATES.welcome, async (tab) => {
    await STATES.welcome.reach(tab);
    await tab.page.evaluate(() => {
      const text = document.createElement("p");
      text.textContent = "pale";
      text.style.color = "#ccc";
      document.querySelector("main").append(text, document.createElement("input"));
    });
    await assert.rejects(tab.expectAccessible("spoilt"), /color-contrast[^]*label|label[^]*color-contrast/);
  }));

test("something wider than the window is noticed", () =>
  visit(STATES.welcome, async (tab) => {
    await STATES.welcome.reach(tab);
    await tab.page.evaluate(() => (document.querySelector("h1").style.width = "200vw"));
    await assert.rejects(tab.expectNoSidewaysScroll("spoilt"), /scrollWidth/);
  }));
