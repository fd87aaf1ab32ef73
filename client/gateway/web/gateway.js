// Requests to the gateway that served this page.

import { readEvents } from "./sse.js";

const KEY_NAME = "swarm.key";

/** Silence after which a stream counts as dead. The gateway sends a ping every 15 s. */
const SILENCE_MS = 45_000;

/** A failure with the gateway's own code, or `network` and `cut` for those that it could not report. */
export class GatewayError extends Error {
  constructor({ code, message, status = 0, retryAfter = 0 }) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  get needsKey() {
    return this.status === 401;
  }
}

/** The key lives as long as the tab. */
export const key = {
  read: () => sessionStorage.getItem(KEY_NAME) ?? "",
  keep: (value) => sessionStorage.setItem(KEY_NAME, value),
  forget: () => sessionStorage.removeItem(KEY_NAME),
};

async function request(path, { body, signal, accept = "application/json" } = {}) {
  const headers = { accept };
  if (key.read() !== "") headers.authorization = `Bearer ${key.read()}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "same-origin",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new GatewayError({ code: "network", message: "no connection" });
  }
  if (response.ok) return response;
  throw await refusal(response);
}

async function refusal(response) {
  const text = await response.text().catch(() => "");
  const wait = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  return new GatewayError({
    ...readError(text),
    status: response.status,
    retryAfter: Number.isFinite(wait) ? wait : 0,
  });
}

function readError(text) {
  try {
    const { error } = JSON.parse(text);
    return { code: error.code ?? error.type ?? "unknown", message: String(error.message ?? "") };
  } catch {
    return { code: "unknown", message: "The reply was not the gateway's. Is there a proxy in between?" };
  }
}

async function readJson(path, signal) {
  const response = await request(path, { signal });
  try {
    return await response.json();
  } catch {
    throw new GatewayError({ code: "network", message: "the reply was not JSON" });
  }
}

export const models = async (signal) => (await readJson("v1/models", signal)).data ?? [];
export const info = (signal) => readJson("info", signal);
export const topology = (signal) => readJson("v1/system/topology", signal);

/** Calls `on.event` with every event until the stream ends; throws when it breaks or falls silent. */
export async function systemEvents(signal, on) {
  const silence = new AbortController();
  let timer = 0;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_MS);
    on.heard();
  };
  try {
    const response = await request("v1/system/events", {
      accept: "text/event-stream",
      signal: AbortSignal.any([signal, silence.signal]),
    });
    on.opened();
    heard();
    await readEvents(response, on.event, heard);
  } catch (error) {
    if (signal.aborted || error instanceof GatewayError) throw error;
    throw new GatewayError({ code: "cut", message: "the event stream broke" });
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Streams one answer. `onChunk` gets every chunk of the answer as the gateway sent it.
 * Throws a GatewayError when the gateway reports one, before or inside the stream, and when the stream ends early.
 */
export async function streamChat(body, signal, onChunk) {
  const response = await request("v1/chat/completions", {
    body: { ...body, stream: true, stream_options: { include_usage: true } },
    signal,
    accept: "text/event-stream",
  });
  let isComplete = false;
  const onEvent = ({ data }) => {
    if (data === "[DONE]") {
      isComplete = true;
      return;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new GatewayError({ status: 200, ...readError(data) });
    onChunk(chunk);
  };
  try {
    await readEvents(response, onEvent);
  } catch (error) {
    if (signal.aborted || error instanceof GatewayError) throw error;
    throw new GatewayError({ code: "cut", message: "the stream broke" });
  }
  if (!isComplete) throw new GatewayError({ code: "cut", message: "the stream ended early" });
}
