"""The words of published policies, where transformers holds them."""

from transformers.models.shieldgemma2.processing_shieldgemma2 import DEFAULT_SHIELDGEMMA2_POLICIES as SHIELDGEMMA2

__all__ = ["SHIELDGEMMA2"]
