"""Safety calibration without training: make a target refuse the hazardous and answer the harmless, and see the price.

`base.py` says what a method is, `learned.py` what it keeps in a file. `methods/` has one file a method; what they are
built of lies in `activation/` and `weight/`, the wordings of the reminder in `reminders/`. `attack.py` says what an
attack is, of which `attacks/` has one file each: the same interface turned round.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..registry import attacks as known_attacks  # the folder of that name would stand in its place
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


def attacked(target: Target, specs: Iterable[str]) -> Target:
    """The target asked under attacks, the first one nearest to who asks: it edits what the others then edit, and all
    come before a calibration of the target. A spec is `NAME[,option=value ...]`.

    Raises InputError for an unknown attack or option, or one that does not fit this target.
    """
    for spec in reversed(list(specs)):
        attack = parse_spec(spec, "attack")
        target = known_attacks.get(attack.kind).load(target, attack.options)
    return target
