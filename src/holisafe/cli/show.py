"""Names of measures as tables show them."""

from __future__ import annotations

NAMES = {
    "masr_pooled": "mASR, pooled",
    "rr": "RR",
    "under_safety": "Under-safety",
    "over_safety": "Over-safety",
    "utility": "Utility",
}


def measure_name(measure: str) -> str:
    """`asr.SSU` -> `ASR SSU`."""
    return NAMES.get(measure, measure.replace("asr.", "ASR "))
