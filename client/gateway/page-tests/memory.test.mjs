// A page that is left open does not grow.

import assert from "node:assert/strict";
import { test } from "node:test";
import { suite } from "./suite.mjs";
import * as worlds from "./worlds.mjs";

const { visit } = suite();

/** What an hour brings: a change of the swarm every few seconds, and many answers. */
const UPDATES = 1000;
/** Noise of the collector; a list that grew by one picture of 200 servers per update would be over 100 MB. */
const MAX_GROWTH_BYTES = 2_000_000;

async function measure(tab) {
  const protocol = await tab.context.newCDPSession(tab.page);
  for (let round = 0; round < 3; round += 1) await protocol.send("HeapProfiler.collectGarbage");
  const { usedSize } = await protocol.send("Runtime.getHeapUsage");
  const { nodes, jsEventListeners } = await protocol.send("Memory.getDOMCounters");
  await protocol.detach();
  return { usedSize, nodes, jsEventListeners };
}

async function update(tab, mock, from, times) {
  const [model] = mock.script.topology.models;
  for (let step = from; step < from + times; step += 1) {
    const server = model.servers[step % model.servers.length];
    mock.emit("server", { model: model.id, server: { ...server, throughput: 10_000_000 + step } });
    if (step % 2 === 0) mock.emit("route", { id: `answer-${step}`, tokens_per_second: 5 + (step % 3), ttft_ms: 700 });
    if (step % 10 === 0) mock.emitTopology();
    // At the pace of the page: it has drawn one update before the next comes.
    if (step % 10 === 9) await tab.page.evaluate(() => new Promise(requestAnimationFrame));
  }
  mock.emit("server", { model: model.id, server: { ...model.servers[0], public_name: `mark ${from + times}` } });
  await tab.expectText(`mark ${from + times}`);
}

test(`the heap and the document do not grow with ${UPDATES} updates`, () =>
  visit({ path: "#/swarm", world: worlds.large }, async (tab, mock) => {
    await tab.expectText("alder-0");
    // The first answers fill the charts up to their limit.
    await update(tab, mock, 0, 1300);
    const before = await measure(tab);
    await update(tab, mock, 1300, UPDATES);
    const after = await measure(tab);
    assert.ok(after.usedSize - before.usedSize < MAX_GROWTH_BYTES, `${before.usedSize} to ${after.usedSize} bytes`);
    assert.ok(after.nodes - before.nodes < 200, `${before.nodes} to ${after.nodes} nodes`);
    assert.ok(after.jsEventListeners - before.jsEventListeners < 20, "event listeners");
  }));

test("views that are opened again and again leave nothing behind", () =>
  visit({ path: "#/swarm" }, async (tab, mock) => {
    await tab.expectText("alice");
    mock.emit("route", { id: "a", tokens_per_second: 4, ttft_ms: 900 });
    await tab.page.locator(".chart canvas").first().waitFor();
    const around = async (times) => {
      for (let round = 0; round < times; round += 1) {
        for (const [view, text] of [["about", "What is sent to whom"], ["chat", "What would you like"], ["swarm", "Coverage"]]) {
          await tab.page.evaluate((name) => (location.hash = `#/${name}`), view);
          await tab.expectText(text);
        }
      }
    };
    await around(5);
    const before = await measure(tab);
    await around(20);
    const after = await measure(tab);
    assert.ok(after.usedSize - before.usedSize < MAX_GROWTH_BYTES, `${before.usedSize} to ${after.usedSize} bytes`);
    assert.ok(after.nodes - before.nodes < 200, `${before.nodes} to ${after.nodes} nodes`);
    assert.ok(after.jsEventListeners - before.jsEventListeners < 20, "event listeners");
    assert.equal(mock.listeners, 1);
  }));
