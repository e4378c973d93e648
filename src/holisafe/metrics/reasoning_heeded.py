"""Whether a model that was asked to think, or not to, did: servers leave aside what they do not know."""

from __future__ import annotations

import pandas as pd


def not_heeded(answers: pd.DataFrame, reasoning: str | None) -> str | None:
    """What to say where `reasoning`, `off` or `on`, was asked for and the answers show the contrary; else None.

    A thought is one that came back, or tokens that the server counted for one.
    """
    came = answers[answers["finish"] != "error"]
    thought = (came["reasoning"].notna() | came["reasoning_tokens"].gt(0).fillna(False)).to_numpy(bool)
    if reasoning == "off" and thought.any():
        return (
            f"reasoning was off, and {int(thought.sum()):,} of {len(came):,} answers came with a thought all the same"
        )
    if reasoning == "on" and len(came) and not thought.any():
        return f"reasoning was on, and none of {len(came):,} answers came with a thought"
    return None
