"""Published figures of guards on HoliSafe-Bench's images (HoliSafe, arXiv 2506.04704, first version), in percent.

For reference beside measured rows; the release has shrunk since (4,031 pairs), and prompts may differ.
"""

from __future__ import annotations

from typing import Final

FIGURES: Final = ("accuracy", "f1", "precision", "recall")

PUBLISHED: Final[dict[str, tuple[float, float, float, float]]] = {
    "SafeLLaVA-7B": (87.0, 92.1, 97.0, 87.8),
    "LlavaGuard-7B": (50.0, 65.6, 90.4, 53.4),
    "ShieldGemma2-4B": (73.4, 48.3, 64.5, 42.0),
    "Llama-Guard-3-11B-Vision": (17.4, 27.6, 30.3, 25.3),
    "Llama-Guard-4-12B": (2.9, 7.6, 33.3, 4.3),
}
"""Guard -> FIGURES."""
