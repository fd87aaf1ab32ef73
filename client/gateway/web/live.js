// Keeps the page's picture of the swarm fresh: one event stream, polling while it cannot be had, and patience.
//
// Events of `/v1/system/events`:
//   topology  the whole picture, as `/v1/system/topology` gives it; the first event of every stream
//   server    `{"model", "server": {…}, "removed"?: true}`: one server as it is now, in the form of the topology
//   route     `{"id", "route", "ttft_ms", "tokens_per_second", "failovers"}`: an answer has ended

import * as gateway from "./gateway.js";
import { plainText } from "./untrusted.js";
import { readTopology, withServer } from "./topology.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 20_000;
/** Models come and go rarely; the list also says how long each one's context is. */
const MODELS_EVERY_MS = 60_000;

const wait = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

export class Live {
  #store;
  #measurements;
  #run = null;

  constructor(store, measurements) {
    this.#store = store;
    this.#measurements = measurements;
  }

  /** Also begins anew, for example with another key. */
  start() {
    this.#run?.abort();
    this.#run = new AbortController();
    this.#follow(this.#run.signal);
  }

  stop() {
    this.#run?.abort();
  }

  async #follow(signal) {
    let pause = FIRST_WAIT_MS;
    let modelsAt = -Infinity;
    while (!signal.aborted) {
      const attempt = new AbortController();
      const both = AbortSignal.any([signal, attempt.signal]);
      try {
        if (performance.now() - modelsAt > MODELS_EVERY_MS || this.#store.state.models === null) {
          await this.#loadModels(both);
          modelsAt = performance.now();
        }
        const opened = () => {
          pause = FIRST_WAIT_MS;
          this.#store.set({ link: "live", freshAt: Date.now(), needsKey: false });
        };
        const refresh = setInterval(() => this.#loadModels(both).catch(() => {}), MODELS_EVERY_MS);
        try {
          const heard = () => this.#store.set({ freshAt: Date.now() });
          await gateway.systemEvents(both, { opened, heard, event: (event) => this.#take(event) });
        } finally {
          clearInterval(refresh);
        }
        // The gateway ended the stream in order; it may be going away or have no stream at all.
      } catch (error) {
        if (signal.aborted) return;
        if (error.needsKey) {
          this.#store.set({ needsKey: true, link: "locked", keyWasWrong: gateway.key.read() !== "" });
          return;
        }
      } finally {
        attempt.abort();
      }
      if (signal.aborted) return;
      await this.#poll(signal);
      await wait(pause, signal);
      pause = Math.min(pause * 2, LONGEST_WAIT_MS);
    }
  }

  async #poll(signal) {
    try {
      const topology = readTopology(await gateway.topology(signal));
      this.#store.set({ topology, link: "polling", freshAt: Date.now() });
    } catch {
      if (!signal.aborted) this.#store.set({ link: "reconnecting" });
    }
  }

  async #loadModels(signal) {
    const [list, info] = await Promise.all([gateway.models(signal), gateway.info(signal).catch(() => null)]);
    const models = list.slice(0, 200).map((model) => ({
      rawId: String(model?.id ?? ""),
      id: plainText(model?.id, "unnamed model"),
      blocks: model?.swarm?.blocks ?? null,
      covered: model?.swarm?.covered ?? null,
      servers: model?.swarm?.servers ?? null,
      maxTokens: model?.swarm?.max_model_len ?? null,
      // Without a chat template it goes on with a text instead of answering.
      isPlain: model?.swarm?.chat === "plain",
      // What a server is given to serve it; the id may be a name that only this gateway knows.
      source: typeof model?.swarm?.source === "string" ? model.swarm.source : null,
    }));
    const { chosen } = this.#store.state;
    const isKnown = models.some((model) => model.rawId === chosen);
    this.#store.set({
      models,
      needsKey: false,
      info: { version: plainText(info?.version), logsPrompts: info?.log_prompts === true },
      // A model that is gone stays chosen while a conversation with it is open: its name is on the screen.
      chosen: chosen === null || !isKnown ? (models[0]?.rawId ?? null) : chosen,
    });
  }

  #take({ event, data }) {
    let json;
    try {
      json = JSON.parse(data);
    } catch {
      return;
    }
    const { topology } = this.#store.state;
    if (event === "topology") this.#store.set({ topology: readTopology(json) });
    else if (event === "server" && topology) {
      this.#store.set({ topology: withServer(topology, json) });
    } else if (event === "route") {
      this.#measurements.add(json);
      this.#store.touch();
    }
  }
}
