"""A Petals client beside transformers itself: what the swarm answers, and what it should have answered."""

import copy
import gc
import threading
import time

import loopback
import petals
import torch
from petals.client.inference_session import InferenceSession
from petals.server.handler import TransformerConnectionHandler
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.set_num_threads(1)

# A petals session that is collected waits for its event loop to close it, for ever if the collector
# happens to run on the thread of that loop. Test runs are short: nothing needs to be collected.
gc.disable()

# hivemind collects a service's methods at its first call, and a second thread that calls meanwhile
# finds them half collected.
TransformerConnectionHandler._collect_rpc_handlers()

# A test wants the first error, not a retry that hides it.
MAX_ATTEMPTS = 1
# Generous, for a machine whose cores all compile or serve something else.
CONNECT_TIMEOUT_S = 30
REQUEST_TIMEOUT_S = 60
ROUTE_POLL_S = 0.5


class ClientPeer:
    in_order = ("open",)

    def __init__(self):
        self._remotes = {}
        self._locals = {}
        self._held = []
        self._lock = threading.Lock()

    def make_model(self, folder):
        """Writes a small random Llama: 4 blocks, grouped keys, untied head, a word for each id; the same one every time."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = LlamaConfig(
                vocab_size=256,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=4,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=512,
                rms_norm_eps=1e-5,
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=0,
            )
            LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
        words = WordLevel({f"w{i}": i for i in range(config.vocab_size)}, unk_token="w0")
        Tokenizer(words).save(f"{folder}/tokenizer.json")

    def open(self, model, prefix, initial_peers, dtype="float32"):
        """Connects to the swarm that serves `model` under `prefix`; later requests name it by its prefix."""
        self._remotes[prefix] = petals.AutoDistributedModelForCausalLM.from_pretrained(
            model,
            dht_prefix=prefix,
            initial_peers=loopback.check_addresses(initial_peers),
            torch_dtype=getattr(torch, dtype),
            connect_timeout=CONNECT_TIMEOUT_S,
            max_retries=MAX_ATTEMPTS,
            request_timeout=REQUEST_TIMEOUT_S,
        )
        return {"petals": petals.__version__}

    def route(self, prefix, servers, patience_s):
        """Waits until a route over exactly `servers` servers exists; answers [[peer id, first, end], …]."""
        manager = blocks_of(self._remotes[prefix]).sequence_manager
        give_up = time.monotonic() + patience_s
        while True:
            try:
                spans = manager.make_sequence(mode="min_latency")
                problem = f"the route has {len(spans)} servers"
            except Exception as error:
                spans, problem = [], str(error)
            if len(spans) == servers:
                return [[span.peer_id.to_base58(), span.start, span.end] for span in spans]
            if time.monotonic() > give_up:
                raise TimeoutError(f"no route over {servers} servers for {prefix}: {problem}")
            time.sleep(ROUTE_POLL_S)
            manager.update(wait=True)

    def generate(self, prefix, ids, max_new_tokens, options=None):
        """Greedy by default; answers the new ids of each row of `ids`."""
        with torch.inference_mode():
            return new_ids(self._remotes[prefix], ids, max_new_tokens, options)

    def reference(self, model, ids, max_new_tokens, options=None):
        """What `generate` must answer: transformers alone, float32, all blocks in this process."""
        with torch.inference_mode():
            return new_ids(self._local(model), ids, max_new_tokens, options)

    def roll(self, prefix, turns):
        """One session over several `generate` calls; each turn is {"ids": […] or null, "max_new_tokens": n}."""
        remote = self._remotes[prefix]
        total = sum(len(turn["ids"] or []) + turn["max_new_tokens"] for turn in turns)
        answers = []
        with torch.inference_mode(), remote.inference_session(max_length=total):
            for turn in turns:
                ids = None if turn["ids"] is None else torch.tensor([turn["ids"]])
                output = remote.generate(ids, max_new_tokens=turn["max_new_tokens"], do_sample=False)
                answers.append(output[0, len(turn["ids"] or []) :].tolist())
        return answers

    def alternate(self, prefix, prompts, max_new_tokens):
        """Two or more sessions open at once, each one token further in turn; answers the new ids of each."""
        remote = self._remotes[prefix]
        sessions, answers = [], [[] for _ in prompts]
        try:
            with torch.inference_mode():
                for prompt in prompts:
                    sessions.append(_open_session(remote, len(prompt) + max_new_tokens))
                for turn in range(max_new_tokens):
                    for session, prompt, answer in zip(sessions, prompts, answers):
                        ids = torch.tensor([prompt]) if turn == 0 else None
                        output = remote.generate(ids, max_new_tokens=1, do_sample=False, session=session)
                        answer.append(output[0, -1].item())
        finally:
            for session in sessions:
                session.close()
        return answers

    def hold(self, prefix, max_length):
        """Opens a session, runs one token through it and keeps it open until `release`."""
        remote = self._remotes[prefix]
        session = _open_session(remote, max_length)
        self._held.append(session)
        with torch.inference_mode():
            session.step(hidden_states(1, 1, remote.config.hidden_size))

    def release(self):
        """Closes all held sessions."""
        while self._held:
            self._held.pop().close()

    def forward(self, prefix, model, batch, seq, prompt_length=0):
        """Raw hidden states through the chain by rpc_forward, compared with the blocks run here."""
        remote, local = self._remotes[prefix], self._local(model)
        inputs = hidden_states(batch, seq, local.config.hidden_size)
        prompts = deep_prompts(local.config, batch, prompt_length)
        with torch.no_grad():
            return difference(remote.model.layers(inputs, prompts), blocks_alone(local, inputs, prompts))

    def step(self, prefix, model, cuts, batch=1, prompt_length=0):
        """The same hidden states through one inference session, `cuts` tokens a step, compared likewise."""
        remote, local = self._remotes[prefix], self._local(model)
        inputs = hidden_states(batch, sum(cuts), local.config.hidden_size)
        prompts = deep_prompts(local.config, batch, prompt_length)
        outputs = []
        with torch.inference_mode(), remote.model.layers.inference_session(max_length=sum(cuts)) as session:
            for index, piece in enumerate(inputs.split(cuts, dim=1)):
                outputs.append(session.step(piece, prompts if index == 0 else None))
        with torch.no_grad():
            return difference(torch.cat(outputs, dim=1), blocks_alone(local, inputs, prompts))

    def close(self):
        self.release()
        for remote in self._remotes.values():
            manager = blocks_of(remote).sequence_manager
            manager.shutdown()
            manager.dht.shutdown()

    def _local(self, model):
        with self._lock:
            if model not in self._locals:
                self._locals[model] = AutoModelForCausalLM.from_pretrained(model, torch_dtype=torch.float32).eval()
            return self._locals[model]


def new_ids(model, ids, max_new_tokens, options):
    rows = torch.tensor(ids)
    output = model.generate(rows, max_new_tokens=max_new_tokens, do_sample=False, **(options or {}))
    return output[:, rows.shape[1] :].tolist()


def hidden_states(batch, seq, hidden):
    """Fixed values in [-1, 1], different in every row and position."""
    values = [((i * 37) % 101 - 50) / 50.0 for i in range(batch * seq * hidden)]
    return torch.tensor(values).reshape(batch, seq, hidden)


def blocks_of(model):
    """Llama keeps its blocks elsewhere than BLOOM and Falcon."""
    return model.model.layers if hasattr(model, "model") else model.transformer.h


def deep_prompts(config, batch, length):
    if length == 0:
        return None
    shape = (config.num_hidden_layers, batch, length, config.hidden_size)
    count = shape[0] * shape[1] * shape[2] * shape[3]
    return torch.tensor([((i * 53) % 97 - 48) / 480.0 for i in range(count)]).reshape(shape)


def blocks_alone(local, hidden, prompts):
    """The blocks of `local` without its final norm; prompt i is added to the first positions of block i's input."""
    body = copy.copy(local.model)
    body._modules = dict(local.model._modules, norm=torch.nn.Identity())
    if prompts is None:
        return body(inputs_embeds=hidden, use_cache=False).last_hidden_state
    for index, block in enumerate(local.model.layers):
        hidden = hidden.clone()
        hidden[:, : prompts.shape[2]] += prompts[index]
        body._modules["layers"] = torch.nn.ModuleList([block])
        hidden = body(inputs_embeds=hidden, use_cache=False).last_hidden_state
    return hidden


def difference(remote, local):
    if remote.shape != local.shape:
        raise AssertionError(f"shape {list(remote.shape)}, expected {list(local.shape)}")
    remote = remote.float()
    return {
        "shape": list(local.shape),
        "relative_rms": ((remote - local).pow(2).mean() / local.pow(2).mean()).sqrt().item(),
        "max_difference": (remote - local).abs().max().item(),
        "max_value": local.abs().max().item(),
    }


def _open_session(remote, max_length):
    return InferenceSession(blocks_of(remote).sequence_manager, max_length=max_length)
