"""Safety calibration without training: make a target refuse the hazardous and answer the harmless, and see the price.

`base.py` says what a method is, `learned.py` what it keeps in a file. `methods/` has one file a method; what they are
built of lies in `activation/` and `weight/`, the wordings of the reminder in `reminders/`.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..registry import calibrations
from ..specs import parse_spec
from ..targets.base import Target


def calibrated(target: Target, specs: Iterable[str]) -> Target:
    """The target with methods around it, the first one innermost. A spec is `METHOD[,option=value ...]`.

    Raises InputError for an unknown method or option, or one that does not fit this target.
    """
    for spec in specs:
        method = parse_spec(spec, "calibration")
        target = calibrations.get(method.kind).load(target, method.options)
    return target
