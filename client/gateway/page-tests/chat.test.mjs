// A conversation: what is sent, what is seen while it streams, how it ends.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { ask, closeSettings } from "./states.mjs";
import { gate, suite } from "./suite.mjs";
import * as worlds from "./worlds.mjs";

const { visit } = suite();
const shown = (tab) => tab.page.locator(".answer .prose").last();
const textOf = async (tab) => (await shown(tab).innerText()).trim();
const answerIs = (tab, text) =>
  tab.until((wanted) => [...document.querySelectorAll(".answer .prose")].at(-1)?.innerText.trim() === wanted, text);

test("an answer streams in order, and its first token is seen before its last is made", () => {
  const [first, second] = [gate(), gate()];
  const script = (topology) => ({
    chat: ["One", first.wait, ", two", second.wait, ", three."],
    account: { ...worlds.routeOf(topology, [[0, "0:20"], [1, "20:32"]]), failovers: 1 },
  });
  return visit({ script }, async (tab, mock) => {
    await ask(tab, "Count to three");
    await answerIs(tab, "One");
    assert.equal(await tab.page.locator(".answer").getAttribute("aria-busy"), "true");
    first.open();
    await answerIs(tab, "One, two");
    second.open();
    await tab.expectText("6.1 tok/s");
    assert.equal(await textOf(tab), "One, two, three.");
    const account = (await tab.page.locator(".account").innerText()).replace(/\s+/g, " ");
    assert.match(account, /0:20 alice 20:32 bob .*first token 0\.8 s.*6\.1 tok\/s.*3 tokens.*1 server replaced/);
    assert.deepEqual(mock.chats[0].body, {
      model: "meta-llama/Llama-3.1-8B-Instruct",
      messages: [{ role: "user", content: "Count to three" }],
      stream: true,
      stream_options: { include_usage: true },
    });
  });
});

for (const [way, stop] of Object.entries({
  "the button": (tab) => tab.page.getByRole("button", { name: "Stop" }).click(),
  Escape: (tab) => tab.page.keyboard.press("Escape"),
})) {
  test(`${way} stops an answer at the gateway, and the conversation goes on from what was said`, () => {
    const script = () => ({ chat: ["Once upon", gate().wait] });
    return visit({ script }, async (tab, mock) => {
      await ask(tab, "A story");
      await answerIs(tab, "Once upon");
      await stop(tab);
      await tab.expectText("You stopped the answer.");
      while (mock.chats[0].ended === null) await tab.page.evaluate(() => new Promise(requestAnimationFrame));
      assert.equal(mock.chats[0].ended, "dropped");
      mock.script.chat = [" a time."];
      await ask(tab, "Go on");
      await answerIs(tab, "a time.");
      assert.deepEqual(
        mock.chats[1].body.messages.map(({ role, content }) => `${role}: ${content}`),
        ["user: A story", "assistant: Once upon", "user: Go on"],
      );
    });
  });
}

/** The gateway's table of errors: status, code, what the page says, and whether trying again is offered. */
const ERRORS = [
  [400, "invalid_value", /refused this request.*the field is wrong/, false],
  [400, "context_length_exceeded", /longer than this model can hold/, false],
  [403, "model_not_allowed", /may not use this model/, false],
  [404, "model_not_found", /does not know this model/, true],
  [413, "body_too_large", /too large/, false],
  [429, "rate_limit_exceeded", /more often than this gateway allows.*7 s/, true],
  [429, "queue_full", /hands full.*7 s/, true],
  [503, "no_route", /no server just now.*7 s/, true],
  [503, "swarm_overloaded", /no memory left for another conversation.*7 s/, true],
  [502, "route_lost", /went away/, true],
  [504, "timeout", /longer than the gateway waits/, true],
  [500, "internal_error", /inside the gateway/, true],
  [418, "teapot", /refused this request.*the field is wrong/, true],
];

for (const [status, code, words, canRetry] of ERRORS) {
  test(`${code} is told in plain words`, () => {
    const headers = code.match(/rate|queue|no_route|overloaded/) ? { "retry-after": "7" } : {};
    const script = () => ({ chat: [{ status, code, message: "the field is wrong", headers }] });
    return visit({ script }, async (tab, mock) => {
      await ask(tab, "Hello");
      const failure = tab.page.getByRole("alert");
      await failure.waitFor();
      assert.match((await failure.innerText()).replace(/\s+/g, " "), words);
      const retry = failure.getByRole("button", { name: "Retry" });
      assert.equal(await retry.count(), canRetry ? 1 : 0);
      if (!canRetry) return;
      mock.script.chat = ["Here I am."];
      await retry.click();
      await answerIs(tab, "Here I am.");
      assert.equal(await failure.count(), 0);
      assert.deepEqual(mock.chats[1].body.messages, [{ role: "user", content: "Hello" }]);
    });
  });
}

for (const [name, step, words] of [
  ["an error inside the stream", { error: "route_lost", message: "gave up" }, /went away/],
  ["a connection that breaks", { cut: true }, /broke before the answer was complete/],
]) {
  test(`${name} keeps what was said and offers to retry`, () => {
    const seen = gate();
    return visit({ script: () => ({ chat: ["Half an", seen.wait, step] }) }, async (tab, mock) => {
      await ask(tab, "Hello");
      await answerIs(tab, "Half an");
      seen.open();
      await tab.page.getByRole("alert").waitFor();
      assert.match(await tab.page.getByRole("alert").innerText(), words);
      assert.equal(await textOf(tab), "Half an");
      mock.script.chat = ["A whole answer."];
      await tab.page.getByRole("button", { name: "Retry" }).click();
      await answerIs(tab, "A whole answer.");
      assert.equal(await tab.page.locator(".answer").count(), 1);
      assert.deepEqual(mock.chats[1].body.messages, [{ role: "user", content: "Hello" }]);
    });
  });
}

test("an answer that reached its longest length says so", () =>
  visit({ script: () => ({ chat: ["A", { finish: "length" }] }) }, async (tab) => {
    await ask(tab);
    await tab.expectText("reached its longest length");
  }));

test("settings go into the request, wrong ones do not, and a reload keeps them", () =>
  visit({}, async (tab, mock) => {
    const { page } = tab;
    await page.getByRole("button", { name: "Settings" }).click();
    await page.getByLabel("System prompt").fill("Be brief.");
    await page.getByLabel("Temperature").fill("0.7");
    await page.getByLabel("Top p").fill("7");
    await page.getByLabel("Longest answer").fill("64");
    await page.getByLabel("Seed").fill("1.5");
    await tab.expectText("From 0.05 to 1.");
    await closeSettings(tab);
    await page.reload();
    await page.getByRole("button", { name: "Settings 3 values changed" }).waitFor();
    await ask(tab, "Hello");
    await answerIs(tab, "Hello there.");
    const { messages, temperature, max_tokens, top_p, seed } = mock.chats[0].body;
    assert.deepEqual([temperature, max_tokens, top_p, seed], [0.7, 64, undefined, undefined]);
    assert.deepEqual(messages, [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Hello" },
    ]);
  }));

test("the key is asked for once, told to be wrong, kept for the tab and sent with every request", () =>
  visit({ script: () => ({ key: "sesame" }) }, async (tab, mock) => {
    const { page } = tab;
    await page.getByLabel("Key").fill("wrong");
    await page.keyboard.press("Enter");
    await tab.expectText("does not accept this key");
    await page.getByLabel("Key").fill("sesame");
    await page.keyboard.press("Enter");
    await tab.expectLink("Live");
    await ask(tab);
    await answerIs(tab, "Hello there.");
    await page.reload();
    await tab.expectLink("Live");
    assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0);
    // A key that stops working in the middle is asked for again, and the conversation is still there.
    await ask(tab, "Again");
    await answerIs(tab, "Hello there.");
    mock.script.key = "changed";
    await ask(tab, "And again");
    await page.getByLabel("Key").fill("changed");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Retry" }).click();
    await answerIs(tab, "Hello there.");
    assert.equal(await page.locator(".question").count(), 2);
  }));

test("save downloads the conversation as JSON, and a new chat begins empty", () =>
  visit({}, async (tab) => {
    const { page } = tab;
    await ask(tab, "Hi");
    await answerIs(tab, "Hello there.");
    await page.getByRole("button", { name: "Ask again" }).waitFor();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "Save" }).click(),
    ]);
    assert.match(download.suggestedFilename(), /^chat-.*\.json$/);
    const saved = JSON.parse(await readFile(await download.path(), "utf8"));
    assert.deepEqual(
      saved.messages.map(({ role, content }) => [role, content]),
      [["user", "Hi"], ["assistant", "Hello there."]],
    );
    await page.getByRole("button", { name: "New chat" }).click();
    await tab.expectText("What would you like to ask?");
    assert.equal(await page.locator(".question").count(), 0);
  }));

test("markup in a question or an answer stays text", () => {
  const evil = `<img src=x onerror="document.title='owned'"> [link](javascript:alert(1)) <b>bold</b>`;
  return visit({ script: () => ({ chat: [evil.slice(0, 9), evil.slice(9), `\n\`\`\`html\n${evil}\n\`\`\``] }) }, async (tab) => {
    await ask(tab, evil);
    await tab.page.getByRole("button", { name: "Ask again" }).waitFor();
    assert.ok((await textOf(tab)).startsWith(evil));
    assert.equal(await tab.page.locator(".code pre").innerText(), evil);
    assert.equal(await tab.page.locator(".transcript :is(img, a, b)").count(), 0);
    assert.equal(await tab.page.title(), "Chat · swarm");
  });
});

test("a screen reader is fed whole sentences, each once", () => {
  const [middle, last] = [gate(), gate()];
  const chat = ["The first sen", "tence. The next", middle.wait, " one. An", last.wait, " end"];
  return visit({ script: () => ({ chat }) }, async (tab) => {
    const log = tab.page.getByRole("log");
    await ask(tab);
    await answerIs(tab, "The first sentence. The next");
    await log.getByText("The first sentence.").waitFor({ state: "attached" });
    assert.equal(await log.locator("p").count(), 1);
    middle.open();
    await log.getByText("The next one.").waitFor({ state: "attached" });
    last.open();
    await log.getByText("An end").waitFor({ state: "attached" });
    assert.deepEqual((await log.locator("p").allInnerTexts()).join("|"), "The first sentence.|The next one.|An end");
  });
});

test("a gateway that logs prompts is named as one", () =>
  visit({ script: () => ({ info: { version: "0.1.0", log_prompts: true } }) }, async (tab) => {
    await tab.expectText("writes prompts and answers to its log");
  }));

test("about says what can be recovered, and promises nothing", () =>
  visit({ path: "#/about" }, async (tab) => {
    const text = (await tab.page.locator("main").innerText()).replace(/\s+/g, " ");
    assert.match(text, /can turn hidden states back into the text/);
    assert.match(text, /Nothing here proves an answer/);
    assert.doesNotMatch(text, /\bverified\b|\bprivate\b|\bsecure\b/i);
  }));

test("the chat is used with the keyboard alone", () =>
  visit({ script: () => ({ chat: ["Hello."] }) }, async (tab, mock) => {
    const { page } = tab;
    const press = async (...keys) => {
      for (const key of keys) await page.keyboard.press(key);
    };
    const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.innerText?.trim());
    await tab.expectText("What would you like to ask?");
    assert.equal(await page.evaluate(() => document.activeElement.id), "message");
    // Back over three ideas, the settings, the model, three views and the name.
    for (let step = 0; step < 10; step += 1) await press("Shift+Tab");
    assert.equal(await focused(), "Skip to content");
    await press("Enter", "Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "model");
    await press("Tab");
    assert.match(await focused(), /Settings/);
    await press("Enter");
    await page.getByRole("dialog").waitFor();
    await press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    assert.match(await focused(), /Settings/);
    // Over the ideas to the message field; the tools of an empty chat are passed over.
    await press("Tab", "Tab", "Tab", "Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "message");
    await page.keyboard.type("Two");
    await press("Shift+Enter");
    await page.keyboard.type("lines");
    await press("Enter");
    await answerIs(tab, "Hello.");
    assert.equal(mock.chats[0].body.messages[0].content, "Two\nlines");
    await page.getByRole("button", { name: "Ask again" }).waitFor();
    await press("Shift+Tab", "Enter");
    while (mock.chats.length < 2) await page.evaluate(() => new Promise(requestAnimationFrame));
    // The button is gone while the answer is made anew.
    assert.equal(await page.evaluate(() => document.activeElement.id), "message");
  }));
