"""Writes a story with the embedded model through a swarm, as any Petals client would."""

import os
import sys
import tempfile

import loopback

MODEL = "models/fable-7m"
DHT_PREFIX = "fable-7m-hf"
NEW_TOKENS = 60


def main(address, prompt="Once upon a time"):
    loopback.prepare_hivemind(tempfile.mkdtemp())
    import petals
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = petals.AutoDistributedModelForCausalLM.from_pretrained(
        MODEL, initial_peers=[address], dht_prefix=DHT_PREFIX, torch_dtype=torch.float32, max_retries=3
    )
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        output = model.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False)
    print(tokenizer.decode(output[0], skip_special_tokens=True), flush=True)
    manager = model.model.layers.sequence_manager
    manager.shutdown()
    manager.dht.shutdown()
    # hivemind's destructors raise when the interpreter takes its event loop away first.
    os._exit(0)


main(*sys.argv[1:])
