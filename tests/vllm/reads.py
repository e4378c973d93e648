"""What vLLM's engine says with a guard of ours, as JSON. Runs in vLLM's own environment:  reads.py '{"folder": ...}'

folder   the guarded model
items    [[path of a picture, what is asked about it], ...]
chunk    the most tokens of a step: longer prompts come in chunks
"""

from __future__ import annotations

import json
import sys
from typing import Any

from PIL import Image
from vllm import LLM

from holisafe.guard import load_processor
from holisafe.serving.vllm.prompts import prompt_ids


def main() -> None:
    given = json.loads(sys.argv[1])
    engine = LLM(
        model=given["folder"],
        config_format="holisafe",
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        max_num_batched_tokens=given["chunk"],
        max_num_seqs=4,
        distributed_executor_backend="uni",
        enable_prefix_caching=True,  # the plug-in takes it back
    )
    processor = load_processor(given["folder"])
    prompts: list[Any] = []
    for path, text in given["items"]:
        picture = Image.open(path).convert("RGB")
        prompts.append({"prompt_token_ids": prompt_ids(processor, text), "multi_modal_data": {"image": picture}})

    def read(several: list[Any]) -> list[Any]:
        return engine.encode(several, pooling_task="classify", use_tqdm=False)

    together, words = read(prompts), processor.tokenizer("why")["input_ids"]
    told = {
        "lengths": [len(one.prompt_token_ids) for one in together],
        "together": [one.outputs.data.tolist() for one in together],
        "alone": [read([prompt])[0].outputs.data.tolist() for prompt in prompts],
        "without": [str(number) for number in read([{"prompt_token_ids": words}])[0].outputs.data.tolist()],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
