"""What vLLM says before it loads what it cannot serve, as JSON. Runs in vLLM's environment:  refuses.py '[FOLDER]'"""

from __future__ import annotations

import json
import sys

from vllm.engine.arg_utils import EngineArgs
from vllm.plugins import load_general_plugins

from holisafe.errors import InputError


def said(folder: str) -> str:
    try:
        EngineArgs(model=folder, config_format="holisafe", enforce_eager=True, max_model_len=256).create_engine_config()
    except (InputError, ValueError) as error:
        return str(error)
    return "nothing"


if __name__ == "__main__":
    load_general_plugins()
    print(json.dumps([said(folder) for folder in json.loads(sys.argv[1])]))
