// What OpenAI's own JavaScript client, unmodified, makes of the gateway.
//
// Called as `node suite.mjs GROUP BASE_URL PACKAGES`; runs every test of the group and prints a line for each.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [group, baseURL, packages] = process.argv.slice(2);
const OpenAI = createRequire(`${packages}/`)("openai");

const MODEL = "fable-7m";
const STORY = [{ role: "user", content: "Once upon a time, there was a little fox." }];
const groups = {};

/** A client, and how many requests it has sent. */
function counted(options = {}) {
  const count = { sent: 0 };
  const counting = (...call) => {
    count.sent += 1;
    return fetch(...call);
  };
  count.client = new OpenAI({ baseURL, apiKey: "sk-user", fetch: counting, timeout: 60_000, ...options });
  return count;
}

const chat = (client, options = {}) =>
  client.chat.completions.create({ model: MODEL, messages: STORY, max_tokens: 24, temperature: 0, ...options });

/** The call rejects with `kind` and nothing else, after as many retries as the client makes by itself. */
async function refused(kind, status, code, call, { retries = 0, param = null, ...options } = {}) {
  const count = counted(options);
  const error = await call(count.client).then(
    () => assert.fail(`${kind.name} was expected`),
    (error) => error,
  );
  assert.equal(error.constructor, kind, `${error}`);
  assert.deepEqual([error.status, error.code, error.param], [status, code, param], `${error}`);
  assert.ok(error.requestID, `${error}`);
  assert.equal(count.sent, 1 + retries, `${error}`);
  return error;
}

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const content = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

groups.answers = {
  async models_are_listed_and_retrieved() {
    const { client } = counted();
    const models = await all(await client.models.list());
    assert.ok(models.some((model) => model.id === MODEL));
    assert.equal((await client.models.retrieve(MODEL)).owned_by, "swarm");
  },

  async a_stream_is_the_plain_answer_in_order() {
    const { client } = counted();
    const plain = await chat(client);
    assert.equal(plain.object, "chat.completion");
    assert.equal(plain.choices[0].finish_reason, "length");
    assert.equal(plain.usage.completion_tokens, 24);
    assert.ok(plain.swarm.route.length > 0);
    assert.ok(plain._request_id);
    const chunks = await all(await chat(client, { stream: true, stream_options: { include_usage: true } }));
    assert.equal(content(chunks), plain.choices[0].message.content);
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.deepEqual(chunks.at(-1).usage, plain.usage);
  },

  async the_helper_for_streams_puts_the_answer_together() {
    const { client } = counted();
    const plain = await chat(client, { n: 2, temperature: 1, seed: 5 });
    const stream = client.chat.completions.stream({
      model: MODEL,
      messages: STORY,
      max_tokens: 24,
      temperature: 1,
      seed: 5,
      n: 2,
    });
    const whole = await stream.finalChatCompletion();
    const texts = (answer) => answer.choices.map((choice) => choice.message.content);
    assert.deepEqual(texts(whole), texts(plain));
  },

  async a_stop_string_ends_the_answer() {
    const { client } = counted();
    const ask = (options) =>
      client.completions.create({ model: MODEL, prompt: "Once upon a time", max_tokens: 40, temperature: 0, ...options });
    const whole = (await ask({})).choices[0].text;
    const stop = whole.slice(whole.length / 2, whole.length / 2 + 9);
    const [choice] = (await ask({ stop })).choices;
    assert.equal(choice.finish_reason, "stop");
    assert.equal(choice.text, whole.slice(0, whole.indexOf(stop)));
    const chunks = await all(await ask({ stop, stream: true }));
    assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), choice.text);
  },

  async logarithms_and_seeds() {
    const { client } = counted();
    const ask = (seed) => chat(client, { temperature: 1, seed, logprobs: true, top_logprobs: 2, max_tokens: 8 });
    const [once, again] = [await ask(3), await ask(3)];
    assert.deepEqual(once.choices[0], again.choices[0]);
    assert.equal(once.choices[0].logprobs.content.length, 8);
    assert.equal(once.choices[0].logprobs.content[0].top_logprobs.length, 2);
  },

  async json_follows_its_schema() {
    const { client } = counted();
    const schema = {
      type: "object",
      properties: { kind: { enum: ["fox", "bear"] }, legs: { type: "integer", minimum: 2, maximum: 8 } },
      required: ["kind", "legs"],
      additionalProperties: false,
    };
    const answer = await chat(client, {
      max_tokens: 60,
      response_format: { type: "json_schema", json_schema: { name: "animal", strict: true, schema } },
    });
    const told = JSON.parse(answer.choices[0].message.content);
    assert.deepEqual(Object.keys(told), ["kind", "legs"]);
    assert.equal(answer.choices[0].finish_reason, "stop");
  },

  async wrong_requests_name_the_field() {
    const bad = (options, param, code = "invalid_value") =>
      refused(OpenAI.BadRequestError, 400, code, (client) => chat(client, options), { param });
    await bad({ temperature: 3 }, "temperature");
    await bad({ tools: [{ type: "function", function: { name: "f", parameters: {} } }] }, "tools");
    const messages = [{ role: "user", content: "word ".repeat(5000) }];
    await bad({ messages }, "messages", "context_length_exceeded");
  },

  async what_is_not_there_is_not_found() {
    const missing = (call, code, param = null) => refused(OpenAI.NotFoundError, 404, code, call, { param });
    await missing((client) => chat(client, { model: "nobody/nothing" }), "model_not_found", "model");
    await missing((client) => client.embeddings.create({ model: MODEL, input: "x" }), "unknown_url");
  },

  async an_aborted_stream_ends() {
    const { client } = counted();
    const stream = await chat(client, { stream: true, max_tokens: 400 });
    let number = 0;
    for await (const _ of stream) {
      if (number++ === 3) stream.controller.abort();
    }
    const headers = { authorization: "Bearer sk-admin" };
    const running = async () => (await client.get("/sessions", { headers })).data.length;
    const started = performance.now();
    while ((await running()) > 0) assert.ok(performance.now() - started < 1000, "still running");
    assert.ok((await chat(client)).choices[0].message.content);
  },
};

groups.keys = {
  async keys_are_asked_for() {
    await refused(OpenAI.AuthenticationError, 401, "invalid_api_key", chat, { apiKey: "sk-wrong" });
    const narrow = { apiKey: "sk-narrow", param: "model" };
    await refused(OpenAI.PermissionDeniedError, 403, "model_not_allowed", chat, narrow);
  },

  async a_large_body_is_refused() {
    const messages = [{ role: "user", content: "word ".repeat(600_000) }];
    await refused(OpenAI.APIError, 413, "body_too_large", (client) => chat(client, { messages }));
  },
};

groups.rate = {
  async a_rate_limit_is_retried_as_it_says() {
    let limited = null;
    for (let turn = 0; turn < 3; turn += 1) {
      await chat(counted({ maxRetries: 0 }).client, { max_tokens: 2 }).catch((error) => (limited = error));
    }
    assert.equal(limited?.constructor, OpenAI.RateLimitError);
    assert.equal(limited.code, "rate_limit_exceeded");
    const count = counted({ maxRetries: 5 });
    assert.ok((await chat(count.client, { max_tokens: 2 })).choices);
    assert.ok(count.sent > 1);
  },
};

groups.queue = {
  async a_full_queue_is_a_rate_limit() {
    const stream = await chat(counted().client, { stream: true, max_tokens: 400 });
    await refused(OpenAI.RateLimitError, 429, "queue_full", chat, { maxRetries: 0 });
    stream.controller.abort();
    assert.ok((await chat(counted({ maxRetries: 5 }).client, { max_tokens: 2 })).choices);
  },
};

groups.no_route = {
  async blocks_without_a_server_are_named() {
    const error = await refused(OpenAI.InternalServerError, 503, "no_route", chat, { retries: 1, maxRetries: 1 });
    assert.ok(error.headers.get("retry-after"));
  },
};

groups.slow = {
  async a_deadline_is_kept() {
    const long = (client) => chat(client, { max_tokens: 400 });
    await refused(OpenAI.InternalServerError, 504, "timeout", long, { maxRetries: 0 });
  },
};

groups.dying = {
  /** The caller kills every server when it reads the line. */
  async a_swarm_that_dies_ends_a_stream_with_an_error() {
    const stream = await chat(counted().client, { stream: true, max_tokens: 480 });
    const lines = createInterface({ input: process.stdin });
    const error = await (async () => {
      let number = 0;
      for await (const _ of stream) {
        if (number++ === 3) {
          console.log("kill");
          await new Promise((done) => lines.once("line", done));
        }
      }
    })().catch((error) => error);
    lines.close();
    assert.equal(error?.constructor, OpenAI.APIError, `${error}`);
    assert.ok(["no_route", "route_lost"].includes(error.code), error.code);
  },
};

for (const [name, test] of Object.entries(groups[group])) {
  const started = performance.now();
  await test();
  console.log(`ok ${name} ${((performance.now() - started) / 1000).toFixed(1)} s`);
}
