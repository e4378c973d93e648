"""A guarded model behind vLLM, by entry points: vLLM loads its folder as a pooling model and gets `/v1/moderations`.

    VLLM_PLUGINS=holisafe vllm serve FOLDER --config-format holisafe
        │                                        │
        │  registering.py  names the model       └─ config.py   what the folder says, and the guard of it
        v                                               │
    moderations.py  POST /v1/moderations                v
    guard.py        one item asked of the engine ─> model.py    features of the decoder, of the sides that are read
    prompts.py      in our words                    pooler.py   pooled request by request, chunk by chunk ─> the head

vLLM is imported here and nowhere else, and only by vLLM itself.
"""
