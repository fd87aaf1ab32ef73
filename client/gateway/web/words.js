// Failures in words for people, by the gateway's error codes: what happened, and what helps.

const SENTENCES = {
  invalid_api_key: ["The gateway does not accept this key.", "Enter another one."],
  model_not_allowed: ["This key may not use this model.", "Choose another model, or ask whoever runs the gateway."],
  model_not_found: ["The gateway does not know this model any more.", "Choose another one above."],
  context_length_exceeded: [
    "The conversation is longer than this model can hold.",
    "Start a new chat, or allow fewer tokens for the answer in the settings.",
  ],
  body_too_large: ["The message is too large for the gateway.", "Send a shorter one, or start a new chat."],
  rate_limit_exceeded: ["You have asked more often than this gateway allows.", "Wait a little."],
  queue_full: [
    "The gateway has its hands full: every place in the queue is taken.",
    "It frees up as other answers end.",
  ],
  no_route: [
    "Some blocks of this model have no server just now, so nobody can answer.",
    "The Swarm view shows which ones, and how to serve them.",
  ],
  swarm_overloaded: [
    "The servers have no memory left for another conversation.",
    "It frees up as other conversations end. Another machine in the swarm would help.",
  ],
  route_lost: ["The servers that worked on this answer went away, and no others could take over.", ""],
  timeout: ["The answer took longer than the gateway waits.", "The swarm may be slow just now."],
  internal_error: ["Something went wrong inside the gateway.", ""],
  cancelled: ["The answer was cancelled at the gateway.", ""],
  network: ["The gateway cannot be reached.", "Is it still running, and are you still on its network?"],
  cut: ["The connection broke before the answer was complete.", ""],
};

/** Trying the same again cannot help. */
const FINAL = new Set(["context_length_exceeded", "body_too_large", "model_not_allowed", "invalid_value"]);

/** @returns `{ what, help, detail, canRetry }` for a GatewayError. */
export function explain(error) {
  const [what, help] = SENTENCES[error.code] ?? ["The gateway refused this request.", ""];
  const wait = error.retryAfter > 0 ? `It suggests waiting ${error.retryAfter} s.` : "";
  return {
    what,
    help: [help, wait].filter(Boolean).join(" "),
    // Says which field, which limit, which blocks; our sentence does not.
    detail: error.code in SENTENCES && !NEEDS_DETAIL.has(error.code) ? "" : error.message,
    canRetry: !FINAL.has(error.code),
  };
}

const NEEDS_DETAIL = new Set(["context_length_exceeded", "no_route", "internal_error", "model_not_found"]);
