"""What safety tuning did inside a model, after the mechanistic study of it (arXiv 2407.10264), on pictures and text.

    base, tuned ─ blocks     the feed-forward blocks, found by structure
                  readings   what both hold of every pair: activations, inputs, gradients, next tokens
                  deciding   where in an answer it is decided, for models that describe first
                  separation which pairs lie with the safe, which with the unsafe, layer by layer
                  update     what the tuned weights add: into which directions, and acting on which inputs
                  study      all of it over a benchmark, as tables

`report/mechanism_page.py` draws the tables.
"""
