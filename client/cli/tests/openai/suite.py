"""What OpenAI's own Python client, unmodified, makes of the gateway.

Called as `suite.py GROUP BASE_URL`, and more that it does not need; runs every function of the group and prints a line for each.
"""

import json
import sys
import time

import openai

MODEL = "fable-7m"
STORY = [{"role": "user", "content": "Once upon a time, there was a little fox."}]
BEGINNING = "Once upon a time"
KEY = "sk-user"
GROUPS = {}


def group(name):
    def keep(function):
        GROUPS.setdefault(name, []).append(function)
        return function

    return keep


class Counted:
    """A client, and how many requests it has sent."""

    def __init__(self, url, key=KEY, **options):
        self.sent = 0
        self.client = openai.OpenAI(base_url=url, api_key=key, timeout=60, **options)
        self.client._client.event_hooks["request"].append(self.count)

    def count(self, _request):
        self.sent += 1


def refused(kind, status, code, call, retries=0, param=None, **client):
    """The call raises `kind` and nothing else, after as many retries as the client makes by itself."""
    counted = Counted(**client)
    try:
        call(counted.client)
    except openai.APIStatusError as error:
        assert type(error) is kind, (type(error), error)
        assert error.status_code == status, (error.status_code, error)
        assert error.code == code, (error.code, error)
        assert error.param == param, (error.param, error)
        assert error.request_id, error
        assert counted.sent == 1 + retries, (counted.sent, error)
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def chat(client, **options):
    options = {"model": MODEL, "messages": STORY, "max_tokens": 24, "temperature": 0} | options
    return client.chat.completions.create(**options)


def text(client, **options):
    options = {"model": MODEL, "prompt": BEGINNING, "max_tokens": 24, "temperature": 0} | options
    return client.completions.create(**options)


def content(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


@group("answers")
def models_are_listed_and_retrieved(url):
    client = Counted(url).client
    assert MODEL in [model.id for model in client.models.list()]
    model = client.models.retrieve(MODEL)
    assert (model.object, model.owned_by) == ("model", "swarm")
    assert model.swarm["blocks"] == model.swarm["covered"], model


@group("answers")
def a_plain_answer_has_every_field(url):
    answer = chat(Counted(url).client)
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion"
    assert abs(answer.created - time.time()) < 60 and answer.model == MODEL and answer.system_fingerprint
    (choice,) = answer.choices
    assert choice.index == 0 and choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason == "length" and choice.logprobs is None
    usage = answer.usage
    assert usage.completion_tokens == 24 and usage.prompt_tokens > 5
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert answer.swarm["route"] and answer.swarm["failovers"] == 0, answer.swarm
    assert answer._request_id


@group("answers")
def a_stream_is_the_plain_answer_in_order(url):
    client = Counted(url).client
    plain = chat(client)
    chunks = list(chat(client, stream=True))
    assert content(chunks) == plain.choices[0].message.content
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert ends[-1] == "length" and set(ends[:-1]) == {None}, ends
    assert all(chunk.usage is None for chunk in chunks)
    assert len(chunks) > 10


@group("answers")
def usage_comes_only_when_asked_for(url):
    client = Counted(url).client
    for options, told in [({"include_usage": True}, True), ({"include_usage": False}, False), ({}, False)]:
        chunks = list(chat(client, stream=True, stream_options=options))
        usages = [chunk.usage for chunk in chunks if chunk.usage]
        assert len(usages) == told, (options, usages)
        if told:
            assert chunks[-1].choices == [] and usages[0].completion_tokens == 24


@group("answers")
def several_choices_are_told_apart(url):
    client = Counted(url).client
    options = {"n": 3, "temperature": 1.0, "seed": 7, "max_tokens": 12}
    plain = chat(client, **options)
    assert [choice.index for choice in plain.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in plain.choices}) > 1
    assert plain.usage.completion_tokens <= 36
    pieces = {0: "", 1: "", 2: ""}
    for chunk in chat(client, stream=True, **options):
        for choice in chunk.choices:
            pieces[choice.index] += choice.delta.content or ""
    assert list(pieces.values()) == [choice.message.content for choice in plain.choices]


@group("answers")
def a_stop_string_ends_the_answer_and_is_not_part_of_it(url):
    client = Counted(url).client
    whole = text(client, max_tokens=40).choices[0].text
    # Across the borders of tokens: from the middle of one word into the next.
    middle = len(whole) // 2
    stop = whole[middle : middle + 9]
    expected = whole[: whole.index(stop)]
    answer = text(client, max_tokens=40, stop=[stop, "never said"]).choices[0]
    assert (answer.text, answer.finish_reason) == (expected, "stop")
    chunks = list(text(client, max_tokens=40, stop=stop, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == expected
    assert chunks[-1].choices[0].finish_reason == "stop"


@group("answers")
def logarithms_have_the_shape_of_their_kind(url):
    client = Counted(url).client
    answer = chat(client, logprobs=True, top_logprobs=3, max_tokens=8).choices[0]
    assert len(answer.logprobs.content) == 8
    for entry in answer.logprobs.content:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        # Greedy: the chosen token is the likeliest.
        assert entry.top_logprobs[0].token == entry.token, entry
    said = b"".join(bytes(entry.bytes) for entry in answer.logprobs.content)
    assert said.decode(errors="replace") == answer.message.content, said
    streamed = [
        entry
        for chunk in chat(client, logprobs=True, top_logprobs=3, max_tokens=8, stream=True)
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content
    ]
    assert [entry.token for entry in streamed] == [entry.token for entry in answer.logprobs.content]
    old = text(client, logprobs=2, max_tokens=6).choices[0]
    assert "".join(old.logprobs.tokens) == old.text
    assert len(old.logprobs.token_logprobs) == len(old.logprobs.text_offset) == 6
    assert all(len(top) >= 2 for top in old.logprobs.top_logprobs)


@group("answers")
def a_seed_repeats_an_answer(url):
    client = Counted(url).client
    once, again, other = (
        chat(client, temperature=1.0, seed=seed).choices[0].message.content for seed in (11, 11, 12)
    )
    assert once == again != other


@group("answers")
def a_bias_forbids_and_forces_tokens(url):
    client = Counted(url).client
    usual = chat(client, logprobs=True, top_logprobs=2, max_tokens=1)
    tops = usual.choices[0].logprobs.content[0].top_logprobs
    ids = client.post("/../tokenize", body={"model": MODEL, "prompt": tops[1].token}, cast_to=object)
    second = ids["tokens"][-1]
    forced = chat(client, logit_bias={str(second): 100}, max_tokens=1, logprobs=True)
    assert forced.choices[0].logprobs.content[0].token != tops[0].token


@group("answers")
def prompts_are_texts_lists_and_ids(url):
    client = Counted(url).client
    one = text(client, max_tokens=6).choices[0].text
    many = text(client, prompt=[BEGINNING, "The end"], max_tokens=6).choices
    assert [choice.index for choice in many] == [0, 1] and many[0].text == one
    echoed = text(client, max_tokens=6, echo=True).choices[0].text
    assert echoed == BEGINNING + one


@group("answers")
def json_follows_its_schema(url):
    client = Counted(url).client
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12, "pattern": "^[a-z]*$"},
            "kind": {"enum": ["fox", "bear", "owl"]},
            "age": {"type": "integer", "minimum": 0, "maximum": 99},
            "brave": {"type": "boolean"},
        },
        "required": ["name", "kind", "age", "brave"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "animal", "strict": True, "schema": schema}}
    for options in ({"temperature": 0}, {"temperature": 1.0, "seed": 3}):
        answer = chat(client, response_format=wanted, max_tokens=120, **options).choices[0]
        assert answer.finish_reason == "stop", answer
        told = json.loads(answer.message.content)
        assert set(told) == set(schema["required"]) and told["kind"] in ("fox", "bear", "owl"), told
        assert len(told["name"]) <= 12 and 0 <= told["age"] <= 99 and isinstance(told["brave"], bool), told
    streamed = content(list(chat(client, response_format=wanted, max_tokens=120, stream=True)))
    assert set(json.loads(streamed)) == set(schema["required"])


@group("answers")
def wrong_requests_name_the_field(url):
    def bad(call, param, code="invalid_value"):
        refused(openai.BadRequestError, 400, code, call, param=param, url=url)

    bad(lambda c: chat(c, temperature=3), "temperature")
    bad(lambda c: chat(c, top_p=0), "top_p")
    bad(lambda c: chat(c, n=5), "n")
    bad(lambda c: chat(c, stop=["a", "b", "c", "d", "e"]), "stop")
    bad(lambda c: chat(c, top_logprobs=21, logprobs=True), "top_logprobs")
    bad(lambda c: chat(c, messages=[]), "messages")
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    bad(lambda c: chat(c, tools=[tool]), "tools")
    long = [{"role": "user", "content": "word " * 5000}]
    error = refused(
        openai.BadRequestError,
        400,
        "context_length_exceeded",
        lambda c: chat(c, messages=long),
        param="messages",
        url=url,
    )
    assert "tokens" in str(error), error


@group("answers")
def what_is_not_there_is_not_found(url):
    def missing(call, code, param=None):
        refused(openai.NotFoundError, 404, code, call, param=param, url=url)

    missing(lambda c: chat(c, model="nobody/nothing"), "model_not_found", "model")
    missing(lambda c: c.models.retrieve("nobody/nothing"), "model_not_found", "model")
    missing(lambda c: c.embeddings.create(model=MODEL, input="x"), "unknown_url")
    missing(lambda c: c.post("/cancel/chatcmpl-unknown", cast_to=object), "not_found")


@group("answers")
def an_aborted_stream_ends(url):
    client = Counted(url).client
    stream = chat(client, stream=True, max_tokens=400)
    for number, _ in enumerate(stream):
        if number == 3:
            break
    stream.close()
    started = time.monotonic()
    while running(client):
        assert time.monotonic() - started < 1, running(client)
    # The gateway goes on.
    assert chat(client).choices[0].message.content


def running(client):
    return client.get("/sessions", cast_to=object, options={"headers": {"authorization": "Bearer sk-admin"}})["data"]


@group("keys")
def keys_are_asked_for(url):
    wrong = {"url": url, "key": "sk-wrong"}
    error = refused(openai.AuthenticationError, 401, "invalid_api_key", chat, **wrong)
    assert error.response.headers["www-authenticate"] == "Bearer"
    narrow = {"url": url, "key": "sk-narrow"}
    refused(openai.PermissionDeniedError, 403, "model_not_allowed", chat, param="model", **narrow)
    chat(Counted(url).client, max_tokens=2)


@group("keys")
def a_large_body_is_refused(url):
    large = [{"role": "user", "content": "word " * 600_000}]
    refused(openai.APIStatusError, 413, "body_too_large", lambda c: chat(c, messages=large), url=url)


@group("rate")
def a_rate_limit_is_retried_as_it_says(url):
    error = None
    for _ in range(3):
        counted = Counted(url, max_retries=0)
        try:
            chat(counted.client, max_tokens=2)
        except openai.RateLimitError as limited:
            error = limited
    assert error is not None and error.code == "rate_limit_exceeded", error
    headers = error.response.headers
    assert int(headers["retry-after"]) >= 1 and headers["x-ratelimit-limit-requests"], headers
    # The client waits as long as it is told, and comes through.
    counted = Counted(url, max_retries=5)
    assert chat(counted.client, max_tokens=2).choices
    assert counted.sent > 1


@group("queue")
def a_full_queue_is_a_rate_limit(url):
    client = Counted(url).client
    stream = chat(client, stream=True, max_tokens=400)
    next(stream)
    refused(openai.RateLimitError, 429, "queue_full", chat, url=url, max_retries=0)
    stream.close()
    # With its own retries the client comes in.
    assert chat(Counted(url, max_retries=5).client, max_tokens=2).choices


@group("no_route")
def blocks_without_a_server_are_named(url):
    error = refused(openai.InternalServerError, 503, "no_route", chat, retries=1, url=url, max_retries=1)
    assert error.response.headers["retry-after"], error
    assert "4" in str(error), error


@group("slow")
def a_deadline_is_kept(url):
    refused(openai.InternalServerError, 504, "timeout", lambda c: chat(c, max_tokens=400), url=url, max_retries=0)


@group("dying")
def a_swarm_that_dies_ends_a_stream_with_an_error(url):
    """The caller kills every server when it reads the line."""
    client = Counted(url).client
    stream = chat(client, stream=True, max_tokens=480)
    try:
        for number, _ in enumerate(stream):
            if number == 3:
                print("kill", flush=True)
                sys.stdin.readline()
    except openai.APIError as error:
        assert type(error) is openai.APIError and error.code in ("no_route", "route_lost"), (error, error.code)
        return
    raise AssertionError("the stream ended as if the answer were whole")


def main():
    name, url = sys.argv[1:3]
    for test in GROUPS[name]:
        started = time.monotonic()
        test(url)
        print(f"ok {test.__name__} {time.monotonic() - started:.1f} s", flush=True)


main()
