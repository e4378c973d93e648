"""Safety tuning: a data mix, a recipe and a base model in, a model folder with its guard out.

from holisafe.tuning.train import tune

Importing this package alone loads neither torch nor transformers.
"""
