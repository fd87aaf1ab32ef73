"""Loads a model as transformers users do, and says whether it is the one in a folder and what they see in the cache."""

import json
import sys

import torch
from huggingface_hub import scan_cache_dir
from transformers import AutoModelForCausalLM, AutoTokenizer

# A note of transformers, and the locks of newer clients, which this one warns of.
NO_REPOSITORIES = ("version.txt", ".locks")

TEXT = "Once upon a time there was a fox"


def main(name, folder):
    found, expected = (AutoModelForCausalLM.from_pretrained(place).state_dict() for place in (name, folder))
    same_weights = found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
    ids, expected_ids = (AutoTokenizer.from_pretrained(place)(TEXT)["input_ids"] for place in (name, folder))
    cache = scan_cache_dir()
    warnings = [str(warning) for warning in cache.warnings if not str(warning).endswith(NO_REPOSITORIES)]
    answer = {
        "same_weights": same_weights,
        "same_ids": ids == expected_ids,
        "warnings": warnings,
        "files": sorted(
            file.file_name for repo in cache.repos for revision in repo.revisions for file in revision.files
        ),
    }
    print(json.dumps(answer), flush=True)


main(*sys.argv[1:])
