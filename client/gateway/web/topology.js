// What the swarm looks like, from `/v1/system/topology` and its events: checked once here, so that the views can
// trust every field.

import { finiteNumber, peerName, plainText, shellWord } from "./untrusted.js";

/** More than any model has; a longer list from the network is cut. */
const MAX_BLOCKS = 4096;
const MAX_SERVERS = 2000;
const MAX_MODELS = 200;

const STATES = ["online", "joining", "offline", "unreachable"];
const HEALTHS = ["green", "amber", "red"];

const listOf = (value, limit) => (Array.isArray(value) ? value.slice(0, limit) : []);
const clamp = (value, low, high) => Math.min(Math.max(Math.trunc(finiteNumber(value) ?? low), low), high);

/** Announced figures beyond this, or below 0, are not measurements. */
const MAX_FIGURE = 1e9;
const figureOf = (value) => (finiteNumber(value) >= 0 && value <= MAX_FIGURE ? finiteNumber(value) : null);

function readServer(server, blocks) {
  const start = clamp(server?.start_block, 0, blocks);
  const end = clamp(server?.end_block, start, blocks);
  const peer = peerName(server?.peer_id);
  return {
    peer,
    name: plainText(server?.public_name, "unnamed"),
    version: plainText(server?.version, "–"),
    state: STATES.includes(server?.state) ? server.state : "offline",
    health: HEALTHS.includes(server?.health) ? server.health : "green",
    start,
    end,
    speed: figureOf(server?.throughput),
    inferenceSpeed: figureOf(server?.inference_rps),
    forwardSpeed: figureOf(server?.forward_rps),
    networkSpeed: figureOf(server?.network_rps),
    dtype: plainText(server?.dtype, "–"),
    quant: plainText(server?.quant_type, "none"),
    adapters: listOf(server?.adapters, 20).map((name) => plainText(name)),
    path: typeof server?.using_relay === "boolean" ? (server.using_relay ? "relay" : "direct") : "–",
    cacheTokens: figureOf(server?.cache_tokens_left),
  };
}

/** One entry per peer, the last one said of it; what has no peer is no server. */
function readServers(list, blocks) {
  const servers = listOf(list, MAX_SERVERS).map((server) => readServer(server, blocks));
  return [...new Map(servers.filter(({ peer }) => peer !== "").map((server) => [server.peer, server])).values()];
}

function readModel(model) {
  const blocks = clamp(model?.num_blocks, 0, MAX_BLOCKS);
  return {
    id: plainText(model?.id ?? model?.dht_prefix, "unnamed model"),
    // As the gateway wrote it: what goes into a command must not be shortened.
    rawId: String(model?.id ?? model?.dht_prefix ?? ""),
    blocks,
    // 0 where some block has only servers that tell no such figure.
    bottleneck: figureOf(model?.bottleneck?.inference) || null,
    servers: readServers(model?.servers, blocks),
  };
}

/** @returns `{ models, addresses }`; unknown fields are dropped and wrong ones replaced. */
export function readTopology(json) {
  const bootstrap = listOf(json?.bootstrap, 20);
  const reached = bootstrap.filter((peer) => peer?.state === "online").concat(bootstrap);
  const addresses = reached.map((peer) => peer?.address).concat(listOf(json?.listen_addresses, 20));
  return {
    models: listOf(json?.models, MAX_MODELS).map(readModel),
    addresses: [...new Set(addresses.filter((address) => typeof address === "string" && address !== ""))],
  };
}

/** A server that came or changed; one that says it is offline stays in the list, marked. */
export function withServer(topology, change) {
  const models = topology.models.map((model) => {
    if (model.rawId !== change?.model) return model;
    const server = readServer(change.server, model.blocks);
    if (server.peer === "") return model;
    const others = model.servers.filter((known) => known.peer !== server.peer);
    return { ...model, servers: change.removed === true ? others : [...others, server].slice(0, MAX_SERVERS) };
  });
  return { ...topology, models };
}

/** Servers online per block. */
export function replicas(model) {
  const counts = new Array(model.blocks).fill(0);
  for (const server of model.servers) {
    if (server.state !== "online") continue;
    for (let block = server.start; block < server.end; block += 1) counts[block] += 1;
  }
  return counts;
}

/** Neighbouring blocks with equal counts as `{ start, end, count }`, end not included. */
export function runs(counts) {
  const found = [];
  counts.forEach((count, block) => {
    const last = found.at(-1);
    if (last?.count === count) last.end = block + 1;
    else found.push({ start: block, end: block + 1, count });
  });
  return found;
}

/** The figures that the page shows of a model. */
export function summary(model) {
  const counts = replicas(model);
  const coverage = runs(counts);
  const missing = coverage.filter((run) => run.count === 0);
  const weakestCount = counts.length === 0 ? 0 : counts.reduce((low, count) => Math.min(low, count));
  const online = model.servers.filter((server) => server.state === "online").length;
  return {
    counts,
    coverage,
    missing,
    covered: counts.filter((count) => count > 0).length,
    online,
    joining: model.servers.filter((server) => server.state === "joining"),
    weakestCount,
    weakest: coverage.find((run) => run.count === weakestCount) ?? null,
    state: online === 0 ? "empty" : missing.length > 0 ? "broken" : "healthy",
  };
}

export const range = ({ start, end }) => `${start}:${end}`;

/**
 * The command that brings a server into this swarm; without a run it chooses its blocks itself. `source` of the model
 * is what servers are given for it, where that is known.
 */
export function joinCommand(model, addresses, run = null) {
  const reachable = addresses.filter((address) => !isLoopback(address));
  const words = ["block-server", "--model", shellWord(model.source ?? model.rawId)];
  if (run !== null) words.push("--blocks", range(run));
  words.push("--initial-peers", shellWord((reachable.length > 0 ? reachable : addresses)[0] ?? "ADDRESS"));
  return words.join(" ");
}

export const isLoopback = (address) => /^\/(ip4\/127\.|ip6\/::1\/|dns4?\/localhost\/)/.test(address);
