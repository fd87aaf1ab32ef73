"""Llama blocks with random bf16 weights in PyTorch, as Petals runs them on a CPU; timed on request.

    python torch_blocks.py SHAPE THREADS

with the shape as `random_gguf.py` has it.

Prints `{"ready": VERSIONS}`, then answers each line of its input with one line:

    {"do": "decode", "batch": 1, "context": 128, "steps": 4}    seconds of one step, the mean of `steps`
    {"do": "prompt", "tokens": 512}                             seconds of one prompt

as `{"seconds": 0.02}`. It ends with its input.
"""

import json
import sys
import time

import torch
import transformers
from transformers import DynamicCache, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

DTYPE = torch.bfloat16
CONTEXT = 4096


class Blocks:
    def __init__(self, shape):
        self.config = LlamaConfig(
            hidden_size=shape["hidden"],
            intermediate_size=shape["ffn"],
            num_hidden_layers=shape["blocks"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kv_heads"],
            max_position_embeddings=CONTEXT,
            attn_implementation="sdpa",
        )
        self.shape = shape
        torch.set_default_dtype(DTYPE)
        self.layers = [LlamaDecoderLayer(self.config, index).eval() for index in range(shape["blocks"])]
        self.rotary = LlamaRotaryEmbedding(config=self.config)
        self.pasts = {}

    def past(self, batch, context):
        """Keys and values of every block, `[batch, kv_heads, context, head_dim]`, made once."""
        if (batch, context) not in self.pasts:
            size = (batch, self.shape["kv_heads"], context, self.shape["head_dim"])
            pairs = [(torch.randn(size), torch.randn(size)) for _ in self.layers]
            self.pasts[batch, context] = pairs
        return self.pasts[batch, context]

    def cache(self, past):
        """A cache that starts with these; it never writes into them."""
        cache = DynamicCache()
        cache.key_cache = [keys for keys, _ in past]
        cache.value_cache = [values for _, values in past]
        cache._seen_tokens = past[0][0].shape[-2] if past else 0
        return cache

    def run(self, hidden, cache, position):
        """`[batch, seq, hidden]` through all blocks."""
        batch, seq, _ = hidden.shape
        positions = torch.arange(position, position + seq)
        ids = positions.unsqueeze(0)
        embeddings = self.rotary(hidden, ids)
        for layer in self.layers:
            hidden = layer(
                hidden,
                position_ids=ids,
                past_key_value=cache,
                use_cache=True,
                cache_position=positions,
                position_embeddings=embeddings,
            )[0]
        return hidden

    def decode(self, batch, context, steps):
        hidden = torch.randn(batch, 1, self.shape["hidden"])
        cache = self.cache(self.past(batch, context))
        started = time.perf_counter()
        for step in range(steps):
            self.run(hidden, cache, context + step)
        return (time.perf_counter() - started) / steps

    def prompt(self, tokens):
        hidden = torch.randn(1, tokens, self.shape["hidden"])
        cache = DynamicCache()
        started = time.perf_counter()
        self.run(hidden, cache, 0)
        return time.perf_counter() - started


def main(shape, threads):
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    with torch.inference_mode():
        blocks = Blocks(shape)
        versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
        print(json.dumps({"ready": versions}), flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            kind = request.pop("do")
            seconds = {"decode": blocks.decode, "prompt": blocks.prompt}[kind](**request)
            print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]))
