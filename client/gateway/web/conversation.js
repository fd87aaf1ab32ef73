// The conversation in this page's memory, and the one answer that may be streaming into it.

import { GatewayError, streamChat } from "./gateway.js";
import { finiteNumber, peerName, plainText } from "./untrusted.js";

const MAX_HOPS = 256;

/** What the gateway's key `swarm` says of an answer. */
function readAccount(swarm) {
  return {
    route: (Array.isArray(swarm.route) ? swarm.route.slice(0, MAX_HOPS) : []).map((hop) => ({
      peer: peerName(hop?.peer),
      blocks: plainText(hop?.blocks),
    })),
    firstToken: finiteNumber(swarm.ttft_ms) === null ? null : swarm.ttft_ms / 1000,
    speed: finiteNumber(swarm.tokens_per_second),
    failovers: finiteNumber(swarm.failovers) ?? 0,
  };
}

export class Conversation {
  messages = [];
  draft = "";
  #nextId = 1;
  #running = null;
  #changed;
  #onAccount;

  /** @param changed called after every change. @param onAccount called with the gateway's account of each answer. */
  constructor(changed, onAccount) {
    this.#changed = changed;
    this.#onAccount = onAccount;
  }

  get isAnswering() {
    return this.#running !== null;
  }

  send(text, model, settings) {
    if (this.isAnswering || text.trim() === "" || model === null) return null;
    this.messages.push({ id: this.#nextId++, role: "user", text: text.trim() });
    return this.#answer(model, settings);
  }

  /** Asks again for the last answer. */
  retry(model, settings) {
    if (this.isAnswering || model === null) return null;
    while (this.messages.at(-1)?.role === "assistant") this.messages.pop();
    return this.messages.length === 0 ? null : this.#answer(model, settings);
  }

  stop() {
    this.#running?.abort();
  }

  clear() {
    this.stop();
    this.messages = [];
    this.draft = "";
    this.#changed();
  }

  /** As JSON that other programs take: the messages in OpenAI's shape, and what the gateway said of each answer. */
  toJson() {
    const messages = this.messages.map(({ role, text, model, account }) => ({
      role,
      content: text,
      ...(model === undefined ? {} : { model }),
      ...(account === null || account === undefined ? {} : { swarm: account }),
    }));
    return JSON.stringify({ saved_at: new Date().toISOString(), messages }, null, 2);
  }

  async #answer(model, settings) {
    const running = new AbortController();
    const answer = {
      id: this.#nextId++,
      role: "assistant",
      model,
      text: "",
      state: "waiting",
      error: null,
      finish: null,
      pieces: 0,
      tokens: null,
      askedAt: performance.now(),
      firstAt: null,
      lastAt: null,
      account: null,
    };
    const body = { model, messages: this.#prompt(settings), ...settings.forRequest() };
    this.messages.push(answer);
    this.#running = running;
    this.#changed();
    try {
      await streamChat(body, running.signal, (chunk) => this.#take(answer, chunk));
      answer.state = "done";
    } catch (error) {
      answer.state = running.signal.aborted ? "stopped" : "failed";
      if (answer.state === "failed") {
        answer.error =
          error instanceof GatewayError ? error : new GatewayError({ code: "unknown", message: String(error) });
      }
    }
    if (this.#running === running) this.#running = null;
    this.#changed();
    return answer;
  }

  #prompt(settings) {
    const system = settings.system.trim();
    const said = this.messages.filter((message) => message.role === "user" || message.text !== "");
    return [
      ...(system === "" ? [] : [{ role: "system", content: system }]),
      ...said.map(({ role, text }) => ({ role, content: text })),
    ];
  }

  #take(answer, chunk) {
    const choice = chunk.choices?.[0];
    const text = choice?.delta?.content;
    if (typeof text === "string" && text !== "") {
      answer.text += text;
      answer.pieces += 1;
      answer.lastAt = performance.now();
      answer.firstAt ??= answer.lastAt;
      answer.state = "streaming";
    }
    if (choice?.finish_reason) answer.finish = choice.finish_reason;
    if (chunk.usage) answer.tokens = finiteNumber(chunk.usage.completion_tokens);
    if (chunk.swarm) {
      answer.account = readAccount(chunk.swarm);
      this.#onAccount({ ...chunk.swarm, id: chunk.id });
    }
    this.#changed();
  }
}

/** Tokens per second and seconds to the first one: the gateway's figures, or what this page saw so far. */
export function speeds(answer) {
  const seen = answer.firstAt === null ? null : (answer.firstAt - answer.askedAt) / 1000;
  const spent = answer.firstAt === null ? 0 : (answer.lastAt - answer.firstAt) / 1000;
  // A piece is mostly one token. The first one marks the start, so it is not counted.
  const counted = answer.pieces > 4 && spent > 0 ? (answer.pieces - 1) / spent : null;
  return {
    firstToken: answer.account?.firstToken ?? seen,
    speed: answer.account?.speed ?? counted,
    isMeasured: answer.account !== null,
  };
}
