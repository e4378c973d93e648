"""Several runs side by side: by which judges they can be compared, and their verdicts by those."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from ..errors import InputError
from ..runs.run import Run
from ..thoughts import of_thoughts
from .human_check import is_human
from .panel import RULES, ballots, panel


def named(judges: Iterable[str], asked: str) -> list[str]:
    """The judges that a name means: the one called so, or else those it is the beginning of, as `string-match` is of
    `string-match:normalised`."""
    known = list(judges)
    if asked in known:
        return [asked]
    return [name for name in known if name.startswith(f"{asked}:") and not of_thoughts(name)]


def shared_judges(runs: Sequence[Run], asked: str | None = None) -> tuple[tuple[str, ...], list[str]]:
    """The judge asked for, or else every judge of safety pairs that all runs share; and what is left out for that.

    `majority` and `unanimous` ask for a panel of the shared judges that are no people. Raises InputError naming the
    judges where the runs share none, or where the one asked for judged them by different versions of its rules.
    """
    common = [name for name in runs[0].judges if all(name in run.judges for run in runs)]
    same = [name for name in common if len({run.versions[name] for run in runs}) == 1]
    have = "; ".join(f"{run.folder}: {', '.join(run.judges) or 'none'}" for run in runs)
    if asked is not None and asked not in RULES:
        meant = named(common, asked)
        if len(meant) != 1:
            several = (
                f"{asked} may be {' or '.join(meant)}" if meant else f"not every run was judged by {asked} ({have})"
            )
            raise InputError(several)
        if meant[0] not in same:
            raise InputError(_by_versions(runs, meant[0]))
        return tuple(meant), []
    if not same and any(run.judges for run in runs):
        problem = _by_versions(runs, common[0]) if common else f"the runs were judged by different judges ({have})"
        raise InputError(problem)
    others = dict.fromkeys(name for run in runs for name in run.judges if name not in common)
    notes = [
        f"left out: {name}, which did not judge {_listed(r for r in runs if name not in r.judges)}" for name in others
    ]
    notes += [f"left out: {_by_versions(runs, name)}" for name in common if name not in same]
    return tuple(same) if asked is None else (asked,), notes


def _by_versions(runs: Sequence[Run], judge: str) -> str:
    versions = ", ".join(sorted({run.versions[judge] for run in runs}))
    return (
        f"{judge} judged the runs by different versions of its rules ({versions}); `holisafe run` again brings each up "
        "to date"
    )


def _listed(runs: Iterable[Run]) -> str:
    return ", ".join(run.title for run in runs)


def judged_by(runs: Sequence[Run], judges: Sequence[str]) -> dict[str, pd.DataFrame]:
    """{TITLE: verdicts} by these judges, a panel of the shared ones where its rule is named, and on plain questions by
    every judge of them that judged all runs by the same rules."""
    shared = shared_judges(runs)[0] if {*judges} & {*RULES} else ()
    members = [name for name in shared if not is_human(name) and not of_thoughts(name)]
    asked = [set(run.verdicts.loc[run.verdicts["answer_key"], "judge"].unique()) for run in runs]
    plain = [name for name in asked[0] if len({run.versions.get(name) for run in runs}) == 1]
    return {run.title: _by(run.verdicts, judges, plain, members) for run in runs}


def _by(verdicts: pd.DataFrame, judges: Sequence[str], plain: Sequence[str], members: Sequence[str]) -> pd.DataFrame:
    question = verdicts["answer_key"].astype(bool)
    parts = [verdicts[verdicts["judge"].isin(judges) & ~question]]
    parts += [panel(ballots(verdicts[~question], members), rule) for rule in RULES if rule in judges]
    parts.append(verdicts[verdicts["judge"].isin(plain) & question])
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
