// A gateway without a swarm: the page's own files with the real security headers, and answers as a test wants them.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const WEB = fileURLToPath(new URL("../web/", import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

/** The real gateway's. */
const HEADERS = (await readFile(new URL("../src/page_headers.txt", import.meta.url), "utf8"))
  .trim()
  .split("\n")
  .map((line) => line.split(/: (.*)/));

export const errorBody = (code, message, type = "server_error") =>
  JSON.stringify({ error: { message, type, param: null, code } });

/** What a test changes to script the gateway. */
export function scenario() {
  return {
    key: null,
    models: [],
    topology: { models: [], bootstrap: [], listen_addresses: [] },
    /** Topology and models wait for this promise. */
    until: null,
    /** "stream", "none" (404, as a gateway without events), or "down" (every connection is cut). */
    events: "stream",
    info: { version: "0.1.0", log_prompts: false },
    /** Steps of one chat: strings are pieces of text, functions are awaited, objects end it. */
    chat: ["Hello", " there."],
    account: null,
  };
}

export class MockGateway {
  script = scenario();
  /** Chat requests so far, with `ended` "complete" or "dropped". */
  chats = [];
  #streams = new Set();
  #server = createServer((request, response) => this.#serve(request, response));

  async listen() {
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.#server.address().port}/`;
    return this;
  }

  async close() {
    this.cutEvents();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  reset() {
    this.cutEvents();
    this.script = scenario();
    this.chats = [];
  }

  get listeners() {
    return this.#streams.size;
  }

  /** An event to every open page. */
  emit(event, data) {
    for (const stream of this.#streams) stream.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  emitTopology() {
    this.emit("topology", this.script.topology);
  }

  cutEvents() {
    for (const stream of this.#streams) stream.destroy();
    this.#streams.clear();
  }

  async #serve(request, response) {
    const path = new URL(request.url, this.url).pathname;
    for (const [name, value] of HEADERS) response.setHeader(name, value);
    if (path === "/" || path.startsWith("/assets/")) return this.#file(path, response);
    if (this.script.events === "down") return request.socket.destroy();
    if (path === "/info") return this.#json(response, this.script.info);
    const wanted = this.script.key === null ? undefined : `Bearer ${this.script.key}`;
    if (wanted !== undefined && request.headers.authorization !== wanted) {
      return this.#refuse(response, 401, "invalid_api_key", "Incorrect API key provided.", "authentication_error");
    }
    if (path === "/v1/chat/completions") return this.#chat(request, response);
    await this.script.until;
    if (path === "/v1/models") return this.#json(response, { object: "list", data: this.script.models });
    if (path === "/v1/system/topology") return this.#json(response, this.script.topology);
    if (path === "/v1/system/events" && this.script.events === "stream") return this.#events(response);
    return this.#refuse(response, 404, "unknown_url", `Unknown path ${path}`, "invalid_request_error");
  }

  async #file(path, response) {
    const name = path === "/" ? "index.html" : normalize(path.slice("/assets/".length));
    try {
      const bytes = await readFile(join(WEB, name));
      response.setHeader("content-type", `${TYPES[extname(name)] ?? "text/plain"}; charset=utf-8`);
      response.setHeader("cache-control", "no-cache");
      response.end(bytes);
    } catch {
      this.#refuse(response, 404, "unknown_url", `No file ${name}`, "invalid_request_error");
    }
  }

  #json(response, value) {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(value));
  }

  #refuse(response, status, code, message, type, headers = {}) {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(errorBody(code, message, type));
  }

  #events(response) {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    this.#streams.add(response);
    response.on("close", () => this.#streams.delete(response));
    response.write(`event: topology\ndata: ${JSON.stringify(this.script.topology)}\n\n`);
  }

  async #chat(request, response) {
    let body = "";
    for await (const piece of request) body += piece;
    const chat = { body: JSON.parse(body), ended: null };
    this.chats.push(chat);
    let isOpen = true;
    response.on("close", () => {
      isOpen = false;
      chat.ended ??= "dropped";
    });
    const { chat: steps, account } = this.script;
    const refusal = steps[0]?.status !== undefined ? steps[0] : null;
    if (refusal !== null) {
      return this.#refuse(response, refusal.status, refusal.code, refusal.message, "server_error", refusal.headers);
    }
    const id = `chatcmpl-${this.chats.length}`;
    const base = { id, object: "chat.completion.chunk", created: 1, model: chat.body.model };
    const send = (data) => response.write(`data: ${JSON.stringify({ ...base, ...data })}\n\n`);
    const choice = (delta, finish_reason = null) => ({ choices: [{ index: 0, delta, finish_reason }], usage: null });
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    send(choice({ role: "assistant", content: "" }));
    let tokens = 0;
    let finish = "stop";
    for (const step of steps) {
      if (!isOpen) return;
      if (typeof step === "function") await step();
      else if (typeof step === "string") send(choice({ content: step }));
      else if (step.finish) finish = step.finish;
      else if (step.cut) return response.destroy();
      else if (step.error) {
        response.write(`data: ${errorBody(step.error, step.message ?? "failed")}\n\n`);
        return response.end();
      }
      tokens += typeof step === "string" ? 1 : 0;
    }
    send(choice({}, finish));
    const usage = { prompt_tokens: 9, completion_tokens: tokens, total_tokens: 9 + tokens };
    send({ choices: [], usage, ...(account === null ? {} : { swarm: account }) });
    chat.ended = "complete";
    response.end("data: [DONE]\n\n");
  }
}
