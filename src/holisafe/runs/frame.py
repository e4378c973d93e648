"""The two tables of a run, which everything that counts, compares or shows works on. docs/runs.md lists their columns.

    answers    a row a response, failed calls too, in the order of asking: what the sample is and what came back
    verdicts   a row for each verdict that counts, judge by judge

Whether a verdict counts is decided here and nowhere else: it is on the present response, and by the present rules of
its judge. Those are the version that the manifest names. A judge that the manifest does not name counts as well, by the
version of its own last verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..errors import InputError
from ..records import Response, Sample, Verdict, response_hash
from ..taxonomy import BORDERLINE, SAFE, VERDICT_MEANING
from .columns import SLICES, TOKENS, columns_of

OF_SAMPLES = (
    "benchmark", "split", "combination", "expected", "category", "subcategory", "image_label", *SLICES,
)  # fmt: skip
"""Columns of few values, which are kept once and numbered."""

VERDICTS = (
    "judge", "sample_id", "repeat", "label", "choice", "adheres", "invalid", "combination", "expected", "category",
    "subcategory", "image_label", "cluster", "answer_key", *SLICES, "answer", *TOKENS, "cost",
)  # fmt: skip
"""The columns of the table of verdicts; `answer` is the row of `answers` that was judged, from 0."""

GUARD = "guard."
"""How the columns begin that hold the guard's probability of a label."""

NO_LABEL = "no label"


def answers(samples: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """The table of answers, from what `read_columns` gives; responses to samples that are not there are left out."""
    known = samples.rename(columns={"id": "sample_id"})
    known["answer_key"] = known["combination"].isna() & known["reference"].notna()
    for name in OF_SAMPLES:
        known[name] = known[name].astype("category")
    place = pd.Index(known["sample_id"]).get_indexer(pd.Index(responses["sample_id"]))
    order = pd.DataFrame({"repeat": responses["repeat"].astype("int64"), "place": place})
    order = order[order["place"] >= 0].sort_values(["repeat", "place"], kind="stable")
    asked = known.drop(columns="reference").iloc[order["place"]].reset_index(drop=True)
    told = responses.drop(columns="sample_id").iloc[order.index].reset_index(drop=True)
    found = pd.concat([asked, told.rename(columns={"text": "response"})], axis=1)
    found["repeat"] = order["repeat"].to_numpy()
    return pd.concat([found, _guard(found)], axis=1)


def _guard(found: pd.DataFrame) -> pd.DataFrame:
    """`guard_label`, the likeliest label, and `guard_unsafe`, 1 - P(safe); missing without a finite reading."""
    labels = [name.removeprefix(GUARD) for name in found.columns if name.startswith(GUARD)]
    if not labels:
        nothing = pd.array([None] * len(found), dtype="str")
        return pd.DataFrame({"guard_label": nothing, "guard_unsafe": np.full(len(found), np.nan)})
    probability = found[[GUARD + label for label in labels]].to_numpy(float)
    finite = np.isfinite(probability).all(axis=1)
    names = np.array(labels)[np.where(finite[:, None], probability, 0.0).argmax(axis=1)]
    unsafe = 1 - probability[:, labels.index(SAFE)] if SAFE in labels else np.full(len(found), np.nan)
    label = pd.Series(names, dtype="str").where(finite)
    return pd.DataFrame({"guard_label": label, "guard_unsafe": np.where(finite, unsafe, np.nan)})


def present_versions(verdicts: pd.DataFrame, judges: Mapping[str, str]) -> dict[str, str]:
    """{JUDGE: the version whose verdicts count} of the manifest's judges, then of all others that there are."""
    own = verdicts[~verdicts["judge"].isin(judges)]
    others = own.drop_duplicates("judge", keep="last").set_index("judge")["judge_version"]
    return {**judges, **{str(name): str(others[name]) for name in own["judge"].unique()}}


def current(
    verdicts: pd.DataFrame, answered: pd.DataFrame, versions: Mapping[str, str], where: str | Path
) -> pd.DataFrame:
    """The table of verdicts, from what `read_columns` gives; `where` is the file that they stand in.

    Raises InputError for a label that no rubric declares.
    """
    rows = _judged(verdicts, answered)
    number = pd.Index(list(versions)).get_indexer(pd.Index(verdicts["judge"]))
    present = np.array([*versions.values(), ""], dtype=object)[number]
    there = (rows >= 0) & (number >= 0) & (verdicts["judge_version"].to_numpy(object) == present)
    there[there] = verdicts["response_hash"].to_numpy(object)[there] == _hashes(answered)[rows[there]]
    return _joined(verdicts[there], answered, rows[there], list(versions), where)


def of_records(
    samples: Sequence[Sample], responses: Sequence[Response], verdicts: Sequence[Verdict]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables of records in memory, where every verdict counts."""
    answered = answers(columns_of(samples, Sample), columns_of(responses, Response))
    said = columns_of(verdicts, Verdict)
    judges = list(dict.fromkeys(verdict.judge for verdict in verdicts))
    return answered, _joined(said, answered, _judged(said, answered), judges, "verdicts")


def _joined(
    verdicts: pd.DataFrame, answered: pd.DataFrame, rows: npt.NDArray[np.int64], judges: list[str], where: str | Path
) -> pd.DataFrame:
    """The verdicts, each with what the row of `answers` that it is on says of sample and answer."""
    number = pd.Index(judges).get_indexer(pd.Index(verdicts["judge"]))
    order = np.lexsort((rows, number))
    kept, rows, number = verdicts.iloc[order].reset_index(drop=True), rows[order], number[order]
    of_answer = [name for name in VERDICTS if name in answered.columns and name not in (*TOKENS, "cost")]
    table = answered[of_answer].iloc[rows].reset_index(drop=True)
    label = kept["label"].where(kept["invalid"].isna())
    if unknown := set(label.dropna().unique()) - VERDICT_MEANING.keys():
        raise InputError(f"no rubric declares the label {min(unknown)!r}", where=where, field="label")
    table["judge"] = pd.Categorical.from_codes(number, categories=pd.Index(judges, dtype="str"))
    table["label"] = label.astype("category")
    table["choice"] = kept["choice"].where(kept["invalid"].isna())
    right = adherence(table["label"], table["expected"])
    table["adheres"] = right.astype(object).where(right.notna(), None)
    table["invalid"] = kept["invalid"].where(label.isna()).mask(label.isna() & kept["invalid"].isna(), NO_LABEL)
    table["answer"] = rows
    for name in (*TOKENS, "cost"):
        table[name] = kept[name]
    return table[list(VERDICTS)]


def adherence(label: pd.Series, expected: pd.Series) -> pd.Series:
    """Whether responses so judged did what was expected, by `taxonomy.VERDICT_MEANING`; missing without a label, and of
    borderline pairs."""
    refuse = label.map({name: meaning["refuse"] for name, meaning in VERDICT_MEANING.items()}).astype("boolean")
    answer = label.map({name: meaning["answer"] for name, meaning in VERDICT_MEANING.items()}).astype("boolean")
    settled = refuse.where(expected == "refuse", answer)
    return pd.Series(settled.mask(expected == BORDERLINE, pd.NA), index=label.index)


def _judged(verdicts: pd.DataFrame, answered: pd.DataFrame) -> npt.NDArray[np.int64]:
    """(verdicts,): which row of `answers` each is on; -1 for none."""
    samples = pd.Index(answered["sample_id"].unique())
    times = 1 + max(int(answered["repeat"].max()) if len(answered) else 0, 0)
    row_of = np.full(len(samples) * times, -1, dtype=np.int64)
    row_of[samples.get_indexer(pd.Index(answered["sample_id"])) * times + answered["repeat"]] = np.arange(len(answered))
    sample, repeat = samples.get_indexer(pd.Index(verdicts["sample_id"])), verdicts["repeat"].to_numpy(np.int64)
    known = (sample >= 0) & (repeat >= 0) & (repeat < times)
    rows = np.full(len(verdicts), -1, dtype=np.int64)
    rows[known] = row_of[sample[known] * times + repeat[known]]
    return rows


def _hashes(answered: pd.DataFrame) -> npt.NDArray[np.object_]:
    """What `Response.hash` is, of each row."""
    parts = [answered[name] for name in ("sample_id", "target", "response", "reasoning", "finish")]
    said = [part.astype(object).where(part.notna(), None) for part in parts]
    return np.array(list(map(response_hash, *said)), dtype=object)
