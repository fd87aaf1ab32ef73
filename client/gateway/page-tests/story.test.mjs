// A model without a chat template: it goes on with a text, and the page helps to begin one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { suite } from "./suite.mjs";
import * as worlds from "./worlds.mjs";

const { visit } = suite();

test("a model that goes on with texts is offered beginnings instead of questions", () => {
  const script = () => ({ chat: [" found a lantern."] });
  return visit({ world: worlds.story, script }, async (tab, mock) => {
    await tab.expectText("How does the text begin?");
    await tab.expectText("it goes on with what you write");
    assert.equal(await tab.page.getByLabel("Message", { exact: true }).getAttribute("placeholder"), "Begin a text");
    const idea = tab.page.locator(".ideas button").first();
    const beginning = await idea.innerText();
    await idea.click();
    await tab.expectText("found a lantern.");
    assert.deepEqual(mock.chats[0].body.messages, [{ role: "user", content: beginning }]);
  });
});

test("the command for another machine names the model as servers do", () =>
  visit({ world: worlds.story, path: "#/swarm" }, async (tab) => {
    const command = await tab.page.locator(".add pre").innerText();
    assert.equal(command, `block-server --model models/fable-7m --initial-peers ${worlds.ADDRESS}`);
  }));
