"""Writes a Llama with random weights in float16, as a GGUF file whose blocks have the shape asked for.

    python random_gguf.py FILE '{"hidden": 2048, "ffn": 8192, "heads": 32, "kv_heads": 8, "head_dim": 64, "blocks": 8}'

The vocabulary is small, so that embeddings and head cost next to nothing beside the blocks.
"""

import json
import sys

import gguf
import numpy

VOCAB = 512
CONTEXT = 4096
DEVIATION = 0.02

UNKNOWN, BEGIN, END = range(3)
SPECIAL = [(b"<unk>", gguf.TokenType.UNKNOWN), (b"<s>", gguf.TokenType.CONTROL), (b"</s>", gguf.TokenType.CONTROL)]


def main(path, shape):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_vocab_size(VOCAB)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape["hidden"])
    writer.add_block_count(shape["blocks"])
    writer.add_feed_forward_length(shape["ffn"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_key_length(shape["head_dim"])
    writer.add_value_length(shape["head_dim"])
    writer.add_rope_dimension_count(shape["head_dim"])
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_vocabulary(writer)

    random = numpy.random.default_rng(1)
    for name, size in tensors(shape):
        if len(size) == 1:
            values = numpy.ones(size, dtype=numpy.float32)
        else:
            values = random.standard_normal(size, dtype=numpy.float32)
            values *= DEVIATION
            values = values.astype(numpy.float16)
        writer.add_tensor(name, values)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_vocabulary(writer):
    """The three special tokens, the 256 bytes, and fillers that no text contains."""
    byte_tokens = [(b"<0x%02X>" % byte, gguf.TokenType.BYTE) for byte in range(256)]
    rest = VOCAB - len(SPECIAL) - len(byte_tokens)
    fillers = [(b"<filler%d>" % number, gguf.TokenType.UNUSED) for number in range(rest)]
    tokens, kinds = zip(*SPECIAL, *byte_tokens, *fillers)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(tokens))
    writer.add_token_scores([0.0] * VOCAB)
    writer.add_token_types(list(kinds))
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)


def tensors(shape):
    """Names and sizes, outputs first."""
    hidden, ffn = shape["hidden"], shape["ffn"]
    queries, keys = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    yield "token_embd.weight", (VOCAB, hidden)
    for block in range(shape["blocks"]):
        for name, size in [
            ("attn_norm", (hidden,)),
            ("attn_q", (queries, hidden)),
            ("attn_k", (keys, hidden)),
            ("attn_v", (keys, hidden)),
            ("attn_output", (hidden, queries)),
            ("ffn_norm", (hidden,)),
            ("ffn_gate", (ffn, hidden)),
            ("ffn_up", (ffn, hidden)),
            ("ffn_down", (hidden, ffn)),
        ]:
            yield f"blk.{block}.{name}.weight", size
    yield "output_norm.weight", (hidden,)
    yield "output.weight", (VOCAB, hidden)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
