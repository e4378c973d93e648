"""What `import holisafe` offers: the stages in a few calls on names or objects, and results that show themselves.

    measure.py    a benchmark, a target and judges in, a run out; runs read, compared and scored
    safer.py      targets calibrated, models tuned, guards evaluated
    scans.py      whatever holds pictures read by a guard, a row each
    results.py    what these return: tables and figures in a notebook, text in a terminal, pandas frames
    bars.py       progress in a notebook

This room stands on all others but the command line, which stands on it.
"""
