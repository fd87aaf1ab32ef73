// Chat and map against a gateway that answers by itself: the real one when PAGE_BASE_URL names it, else the scripted.
//
// PAGE_API_KEY   its key, if it wants one
// PAGE_LONG_TOKENS  tokens of a long answer, which must be over within 20 s
// PAGE_KILL_PID  a server of the swarm without which the model can still answer: it is killed in the middle of one

import assert from "node:assert/strict";
import { test } from "node:test";
import { Tab } from "./page.mjs";
import { ask, closeSettings, scriptFor } from "./states.mjs";
import { suite } from "./suite.mjs";
import * as worlds from "./worlds.mjs";

const shared = suite();
const realUrl = process.env.PAGE_BASE_URL;
const victim = process.env.PAGE_KILL_PID;
const PROMPT = "Once upon a time";
/** Fits with the prompt into the context of 512 tokens of the smallest model. */
const LONG_TOKENS = Number(process.env.PAGE_LONG_TOKENS ?? 400);
/** The promise of the map. */
const SEEN_WITHIN_MS = 5000;

async function open(path) {
  const { browser, mock } = shared;
  const key = process.env.PAGE_API_KEY ?? null;
  return Tab.open(browser, realUrl ?? mock.url, { path, key, reducedMotion: "reduce" });
}

/** An answer of many tokens, at the pace of the page that reads it. */
function scriptLongAnswer(tab) {
  if (realUrl !== undefined) return;
  const nextFrame = () => tab.page.evaluate(() => new Promise(requestAnimationFrame)).catch(() => {});
  const words = Array.from({ length: 120 }, (_, number) => [nextFrame, `word${number} `]).flat();
  const script = (topology) => ({ chat: words, account: worlds.routeOf(topology, [[0, "0:20"], [1, "20:32"]]) });
  shared.mock.script = scriptFor({ script });
}

/** The likeliest tokens, so that the model does not end by chance after three, and at most so many. */
async function limitAnswer(tab, tokens) {
  await tab.page.getByRole("button", { name: "Settings" }).click();
  await tab.page.getByLabel("Longest answer").fill(String(tokens));
  await tab.page.getByLabel("Temperature").fill("0");
  await closeSettings(tab);
}

/** Notes the text of the last answer every time it changes, and stops the answer at its first one if so asked. */
const watchAnswer = (tab, { stops = false } = {}) =>
  tab.page.evaluate((stopAtFirst) => {
    globalThis.texts = [];
    new MutationObserver(() => {
      const text = [...document.querySelectorAll(".answer .prose.streaming, .answer .prose.done")].at(-1)?.textContent ?? "";
      const shown = text.replace(/\s+/g, "");
      if (shown === "" || shown === globalThis.texts.at(-1)) return;
      globalThis.texts.push(shown);
      if (stopAtFirst && globalThis.texts.length === 1) document.querySelector("[aria-label=Stop]").click();
    }).observe(document.querySelector("main"), { childList: true, subtree: true, characterData: true });
  }, stops);

/** Asks, and returns the whole answer without its blanks. `meanwhile` is done once it has begun. */
async function wholeAnswer(tab, meanwhile = async () => {}) {
  await watchAnswer(tab);
  await ask(tab, PROMPT);
  await isAnswering(tab);
  await meanwhile();
  await tab.page.getByRole("button", { name: "Ask again" }).waitFor();
  return tab.page.evaluate(() => globalThis.texts.at(-1));
}

const isAnswering = (tab) => tab.until(() => globalThis.texts.length > 0);

test("a chat streams in order and shows its route and speed", async () => {
  const tab = await open("");
  scriptLongAnswer(tab);
  await tab.page.reload();
  await tab.expectLink("Live");
  await limitAnswer(tab, LONG_TOKENS);
  await watchAnswer(tab);
  await ask(tab, PROMPT);
  await tab.page.getByRole("button", { name: "Ask again" }).waitFor();
  const texts = await tab.page.evaluate(() => globalThis.texts);
  assert.ok(texts.length > 1, `${texts.length} steps`);
  texts.reduce((before, after) => (assert.ok(after.startsWith(before), `${before} became ${after}`), after));
  const account = (await tab.page.locator(".account").innerText()).replace(/\s+/g, " ");
  assert.match(account, /\d+:\d+ \S.*first token [\d.]+ s .*[\d.,]+k? tok\/s .*\d+ tokens?/);
  await tab.expectAccessible("an answer");
  await tab.close();
});

test("stop ends an answer, and the next one begins", async () => {
  const tab = await open("");
  scriptLongAnswer(tab);
  await tab.page.reload();
  await tab.expectLink("Live");
  await limitAnswer(tab, LONG_TOKENS);
  await watchAnswer(tab, { stops: true });
  await ask(tab, PROMPT);
  await tab.expectText("You stopped the answer.");
  await limitAnswer(tab, 8);
  await ask(tab, "And then");
  // The button of the stopped answer is there from before.
  await tab.page.locator(".answer:not([aria-busy])").nth(1).waitFor();
  assert.equal(await tab.page.locator(".answer").count(), 2);
  assert.equal(await tab.page.getByRole("alert").count(), 0);
  await tab.close();
});

test("the map shows the servers of a whole model", async () => {
  const tab = await open("#/swarm");
  scriptLongAnswer(tab);
  await tab.page.reload();
  await tab.page.getByRole("status").getByText("Healthy").waitFor({ state: "attached" });
  assert.ok((await tab.page.locator("tbody tr .state.good").count()) > 0);
  assert.match(await tab.page.locator(".add pre").innerText(), /^block-server --model \S+ --initial-peers \S/);
  await tab.expectAccessible("the map");
  await tab.close();
});

if (realUrl === undefined || victim !== undefined) {
  test("a server that is killed in the middle of an answer is off the map within 5 s, and the answer goes on", async () => {
    const [chat, map] = [await open(""), await open("#/swarm")];
    scriptLongAnswer(chat);
    await chat.page.reload();
    await map.page.reload();
    const online = async () => Number(await map.page.locator(".tiles dd").first().evaluate((cell) => cell.firstChild.textContent));
    await map.page.getByRole("status").getByText("Healthy").waitFor({ state: "attached" });
    await chat.expectLink("Live");
    await limitAnswer(chat, LONG_TOKENS);
    const undisturbed = await wholeAnswer(chat);
    await chat.page.getByRole("button", { name: "New chat" }).click();
    const before = await online();
    const disturbed = await wholeAnswer(chat, async () => {
      kill();
      const isRunning = await chat.page.evaluate(() => document.querySelector(".answer[aria-busy]") !== null);
      assert.ok(isRunning, "the answer was over before the server was killed: this swarm is too fast for this test");
      await map.page.waitForFunction(
        (count) => Number(document.querySelector(".tiles dd").firstChild.textContent) < count,
        before,
        { timeout: SEEN_WITHIN_MS },
      );
      const seen = await chat.page.evaluate(() => globalThis.texts.length);
      await chat.until((count) => globalThis.texts.length > count, seen);
    });
    assert.equal(disturbed, undisturbed, "the text is the one of an answer that nothing happened to");
    assert.equal(await chat.page.getByRole("alert").count(), 0);
    if (victim !== undefined) assert.match(await chat.page.locator(".account").innerText(), /1 server replaced/);
    await chat.close();
    await map.close();
  });
}

function kill() {
  if (victim !== undefined) {
    process.kill(Number(victim), "SIGKILL");
    return;
  }
  const [model] = shared.mock.script.topology.models;
  shared.mock.emit("server", { model: model.id, server: { ...model.servers[2], state: "offline" } });
}
