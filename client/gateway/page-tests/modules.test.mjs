// The parts of the page that need no page.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Measurements, WINDOW_MS } from "../web/measurements.js";
import { paragraphs, sentenceEnd, splitCode } from "../web/prose.js";
import { SseParser } from "../web/sse.js";
import { joinCommand, readTopology, summary, withServer } from "../web/topology.js";
import { plainText, shellWord } from "../web/untrusted.js";
import * as worlds from "./worlds.mjs";

function parse(pieces) {
  const events = [];
  const parser = new SseParser((event) => events.push(event));
  for (const piece of pieces) parser.push(piece);
  return events;
}

test("an event stream cut anywhere gives the same events, whatever ends its lines", () => {
  const stream = ": ping\n\ndata: one\n\nevent: server\ndata:two\ndata:  three\nid: 7\n\nretry: 5\n\ndata\n\n";
  const events = [
    { event: "message", data: "one" },
    { event: "server", data: "two\n three" },
    { event: "message", data: "" },
  ];
  for (const end of ["\n", "\r\n", "\r"]) {
    const text = stream.replaceAll("\n", end);
    for (let cut = 0; cut <= text.length; cut += 1) {
      // A lone CR at the very end may still become CRLF: one more line shows that it did not.
      assert.deepEqual(parse([text.slice(0, cut), text.slice(cut), `:${end}`]), events, `${JSON.stringify(end)} at ${cut}`);
    }
    assert.deepEqual(parse([...text, `:${end}`]), events);
  }
});

test("an event without end is refused before it fills the memory", () => {
  const parser = new SseParser(() => {});
  const megabyte = "x".repeat(1_000_000);
  assert.throws(() => {
    for (let piece = 0; piece < 20; piece += 1) parser.push(megabyte);
  }, /too long/);
  const lines = new SseParser(() => {});
  assert.throws(() => {
    for (let piece = 0; piece < 20; piece += 1) lines.push(`data: ${megabyte}\n`);
  }, /too long/);
});

test("fenced code is set apart, also while its end is still to come", () => {
  assert.deepEqual(splitCode("a\n```js\nlet b\n```\nc"), [
    { kind: "text", text: "a", language: "" },
    { kind: "code", text: "let b", language: "js" },
    { kind: "text", text: "c", language: "" },
  ]);
  assert.deepEqual(splitCode("~~~\n```\nopen"), [{ kind: "code", text: "```\nopen", language: "" }]);
  assert.deepEqual(paragraphs("a **b** `c`\n\n\n\nd"), [
    [
      { kind: "text", text: "a " },
      { kind: "strong", text: "b" },
      { kind: "text", text: " " },
      { kind: "code", text: "c" },
    ],
    [{ kind: "text", text: "d" }],
  ]);
});

test("a growing answer is cut at whole sentences", () => {
  const text = "It costs 3.50 in all. And th";
  assert.equal(text.slice(0, sentenceEnd(text, 0)), "It costs 3.50 in all.");
  assert.equal(sentenceEnd("no end yet", 0), 0);
  assert.equal(sentenceEnd("One. Two. ", 4), 9);
});

test("the missing ranges, the weakest and the commands follow from the servers", () => {
  const topology = readTopology(worlds.broken().topology);
  const [model] = topology.models;
  const facts = summary(model);
  assert.equal(facts.state, "broken");
  assert.equal(facts.covered, 22);
  assert.deepEqual(facts.missing.map(({ start, end }) => [start, end]), [[12, 18], [28, 32]]);
  assert.equal(
    joinCommand(model, topology.addresses, facts.missing[0]),
    `block-server --model meta-llama/Llama-3.1-8B-Instruct --blocks 12:18 --initial-peers ${worlds.ADDRESS}`,
  );
  const whole = withServer(withServer(topology, change("frank", 12, 18)), change("grace", 28, 32));
  assert.equal(summary(whole.models[0]).state, "healthy");
  assert.equal(summary(withServer(whole, { ...change("grace", 28, 32), removed: true }).models[0]).state, "broken");
});

const change = (name, start, end) => ({
  model: "meta-llama/Llama-3.1-8B-Instruct",
  server: worlds.server(name.length + start, name, start, end),
});

test("an address that other machines can reach comes first", () => {
  const [model] = readTopology(worlds.healthy().topology).models;
  const command = joinCommand(model, ["/ip4/127.0.0.1/tcp/1/p2p/A", "/ip4/10.0.0.5/tcp/1/p2p/A"]);
  assert.match(command, /--initial-peers \/ip4\/10\.0\.0\.5\//);
  assert.match(joinCommand(model, []), /--initial-peers ADDRESS$/);
  assert.match(joinCommand({ ...model, source: "models/a b" }, []), /^block-server --model 'models\/a b' --initial/);
});

test("whatever a name holds, it is one word of a command", () => {
  for (const name of ["plain/name-1.0", "a b", "it's", "$(reboot)", "`x`", "a;b", "--flag", "", "a\nb", "a\\", '"']) {
    const word = shellWord(name);
    const unquoted = word.startsWith("'")
      ? word.slice(1, -1).replaceAll(`'\\''`, "'")
      : word;
    assert.equal(unquoted, name.replace("\n", ""));
    // Nothing but plain characters stands outside of quotes.
    assert.match(word.replaceAll(`'\\''`, "").replace(/^'[^']*'$/, ""), /^[A-Za-z0-9_@%+=:,./-]*$/);
    assert.doesNotMatch(word, /^-/);
  }
});

test("a name is one short line without characters that hide or turn text", () => {
  const inverted = plainText(worlds.HOSTILE_NAMES[3], "unnamed");
  assert.equal(inverted, "gnp.exe bob");
  assert.equal(Array.from(plainText("🦊".repeat(200))).length, 80);
  assert.ok(plainText(worlds.HOSTILE_NAMES[4]).normalize("NFD").length < 12);
  assert.equal(plainText("   ", "unnamed"), "unnamed");
  assert.equal(plainText({ toString: () => "x" }, "unnamed"), "unnamed");
  assert.equal(plainText("Zoë Łukasz 中村"), "Zoë Łukasz 中村");
});

test("a topology of nonsense gives an empty or a harmless picture", () => {
  for (const nonsense of [null, 7, "x", [], {}, { models: 7 }, { models: [null, 7, {}] }, { models: { length: 9 } }]) {
    for (const model of readTopology(nonsense).models) assert.equal(summary(model).state, "empty");
  }
  const server = { peer_id: "A", start_block: -1e9, end_block: 1e12, state: "online", throughput: 1e300, inference_rps: -1 };
  const huge = { models: [{ id: "m", num_blocks: 1e12, servers: [server, { ...server, public_name: "again" }] }] };
  const [model] = readTopology(huge).models;
  assert.equal(summary(model).covered, 4096);
  assert.deepEqual(model.servers.map(({ name, speed, inferenceSpeed }) => [name, speed, inferenceSpeed]), [["again", null, null]]);
});

test("measurements are of the last ten minutes, of each answer once, and never many", () => {
  const measurements = new Measurements();
  const now = 1_700_000_000_000;
  measurements.add({ id: "a", tokens_per_second: 5, ttft_ms: 500 }, now);
  measurements.add({ id: "a", tokens_per_second: 5, ttft_ms: 500 }, now);
  measurements.add({ id: "b", tokens_per_second: "fast", ttft_ms: null }, now);
  assert.deepEqual(measurements.points, [{ at: now, id: "a", speed: 5, firstToken: 0.5 }]);
  for (let answer = 0; answer < 5000; answer += 1) {
    measurements.add({ id: `c${answer}`, tokens_per_second: 5, ttft_ms: 1 }, now + answer);
  }
  assert.ok(measurements.points.length <= 600);
  measurements.prune(now + 5000 + WINDOW_MS);
  assert.equal(measurements.points.length, 0);
});
