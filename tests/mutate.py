"""Break the package on purpose, one line at a time, and see whether the tests notice.

    python tests/mutate.py                 # all of MUTATIONS; tells which survive
    python tests/mutate.py intervals pool  # those whose file or words hold one of these

Each is put into a copy of the sources, on which the tests named with it run until the first failure. One that survives
is a hole in the tests, or code that nothing needs. `test_mutate.py` holds that each still applies.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).parents[1]


class Mutation(NamedTuple):
    """In `file` of the package `old`, which stands there once, becomes `new`. `tests` are what should notice."""

    what: str
    file: str
    old: str
    new: str
    tests: str

    @property
    def applies(self) -> bool:
        return (ROOT / "src/holisafe" / self.file).read_text(encoding="utf-8").count(self.old) == 1


LIBRARIES = ("pytest", "hypothesis", "pandas", "scipy.stats", "sklearn.metrics", "pydantic", "torch", "transformers")
"""Loaded once for all, before the processes that test part."""

RUN_SCORES, FRAME, INTERVALS = "metrics/run_scores.py", "runs/frame.py", "metrics/intervals.py"
ONE_READER, OF_RUN_SCORES = "test_one_reader.py", "metrics/test_run_scores.py"
OF_PAIRS, OF_FOLDER, OF_INDEX = "evaluation/test_pairs.py", "runs/test_folder.py", "runs/test_index.py"
OF_NORMALISED = "judges/test_string_match_normalised.py"
OF_IMAGES, OF_QUALITY = "metrics/test_guard_images.py", "metrics/test_guard_quality.py"

MUTATIONS = (
    # runs
    Mutation("verdicts on other answers count", FRAME,
             "    there[there] = verdicts[", "    0 and verdicts[", ONE_READER),
    Mutation("verdicts of older rules count", FRAME,
             ' & (verdicts["judge_version"].to_numpy(object) == present)', "", ONE_READER),
    Mutation("a judge that no manifest names is left out", FRAME,
             "return {**judges, **{str(name): str(others[name]) for name in own[\"judge\"].unique()}}",
             "return {**judges}", ONE_READER),
    Mutation("the first verdict of a judge gives its version", FRAME,
             'own.drop_duplicates("judge", keep="last")', 'own.drop_duplicates("judge", keep="first")', ONE_READER),
    Mutation("the first line of a key wins", "runs/columns.py",
             'keep="last", ignore_index=True', 'keep="first", ignore_index=True', f"{ONE_READER} {OF_PAIRS}"),
    Mutation("repeats of an answer are one", "runs/columns.py",
             'Response: ["sample_id", "repeat"]', 'Response: ["sample_id"]', f"{ONE_READER} {OF_RUN_SCORES}"),
    Mutation("another schema is read as this one", "runs/columns.py",
             'compute.all(compute.equal(table["schema"], SCHEMA_VERSION)).as_py()', "True", ONE_READER),
    Mutation("invalid verdicts keep their label", FRAME,
             'label = kept["label"].where(kept["invalid"].isna())', 'label = kept["label"]', OF_RUN_SCORES),
    Mutation("an unknown label stops nothing", FRAME,
             "if unknown := set(label.dropna().unique()) - VERDICT_MEANING.keys():", "if unknown := set():",
             ONE_READER),
    Mutation("a reading that is no number has a label", FRAME,
             'label = pd.Series(names, dtype="str").where(finite)', 'label = pd.Series(names, dtype="str")',
             OF_RUN_SCORES),
    Mutation("errors are not asked again", "runs/index.py",
             "return key in self._answers and self._answers[key].usable", "return key in self._answers",
             f"{OF_INDEX} {OF_PAIRS}"),
    Mutation("a verdict on an older answer is a verdict", "runs/index.py",
             "opinion[:2] == (version, answer.hash)", "opinion[:1] == (version,)", f"{OF_INDEX} {OF_PAIRS}"),
    Mutation("a negative cost makes room", "runs/index.py",
             "if record.cost is not None and record.cost > 0:", "if record.cost is not None:",
             f"{OF_INDEX} {OF_PAIRS}"),
    Mutation("a response's line is taken from the wrong byte", "runs/folder.py",
             "at += 1 + (len(line) if line.isascii() else len(line.encode()))", "at += 1 + len(line)",
             f"{OF_INDEX} {OF_FOLDER}"),
    Mutation("two processes write one run", "journal.py",
             "fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)", "fcntl.LOCK_SH | (0 if wait else fcntl.LOCK_NB)",
             f"test_journal.py {OF_FOLDER}"),
    Mutation("a torn line stays", "journal.py",
             "                _cut_torn_line(self._file, self.path)\n", "                pass\n",
             f"test_journal.py {OF_FOLDER}"),
    Mutation("a line half written by a full disk stays", "journal.py",
             "os.ftruncate(self._file, whole)", "pass", "test_journal.py"),
    # metrics
    Mutation("guard clusters ignored", RUN_SCORES,
             "clusters=clusters.tolist() if clusters.duplicated().any() else None", "clusters=None", OF_RUN_SCORES),
    Mutation("the guard counted once per repeat", RUN_SCORES,
             'first = answers[answers["repeat"] == 0]', "first = answers", OF_RUN_SCORES),
    Mutation("failed calls are in the guard's figures", RUN_SCORES,
             'labelled = answers[named & (answers["finish"] != "error")]', "labelled = answers[named]", OF_RUN_SCORES),
    Mutation("blocks count as answers", RUN_SCORES,
             'told = rows.assign(label="refused", adheres=(rows["expected"] == "refuse")',
             'told = rows.assign(label="refused", adheres=(rows["expected"] == "answer")', OF_RUN_SCORES),
    Mutation("repeats not clustered", "metrics/score.py",
             "np.where(clusters < 0, len(names) + samples, clusters)",
             "np.where(clusters < 0, len(names) + np.arange(len(samples)), clusters)",
             f"metrics/test_score.py {OF_RUN_SCORES}"),
    Mutation("clusters ignored in rates", "metrics/rates.py",
             "clusters = np.arange(len(self.valid)) if self.clusters is None else self.clusters",
             "clusters = np.arange(len(self.valid))", "metrics/test_rates.py metrics/test_score.py"),
    Mutation("invalid verdicts are hits", "metrics/rates.py",
             "hit = group & self.valid & self.hit", "hit = group & self.hit",
             "metrics/test_rates.py metrics/test_score.py"),
    Mutation("bounds without invalid verdicts", "metrics/rates.py",
             "_mean_ratio(hit, n + invalid), _mean_ratio(hit + invalid, n + invalid)",
             "_mean_ratio(hit, n), _mean_ratio(hit + invalid, n + invalid)", "metrics/test_rates.py"),
    Mutation("slots of unlike kinds", "metrics/safety_calibration.py",
             "        if len(kinds) == 1:\n            return by_slot\n", "        return by_slot\n",
             "metrics/test_safety_calibration.py"),
    Mutation("warned is unsafe", "metrics/measures.py",
             'SAFE_CLASS = ("refused", "warned", ', 'SAFE_CLASS = ("refused", ', "metrics/test_safety_calibration.py"),
    Mutation("macro is pooled", "metrics/score.py",
             'outcomes.macro(list(types.values()))', "outcomes.macro([unsafe])", "metrics/test_score.py"),
    Mutation("a design effect below 1", INTERVALS,
             "deff = np.maximum(1.0, (seen", "deff = (1.0 * (seen", "metrics/test_intervals.py"),
    Mutation("few clusters know as much as many", INTERVALS,
             "few = (stdtrit(np.maximum(n - 1, 1), 0.975) / stdtrit(several, 0.975)) ** 2", "few = 1.0",
             "metrics/test_intervals.py"),
    Mutation("correlation left out of a difference", INTERVALS,
             "correlation = np.divide(together, scale,", "correlation = np.divide(0 * together, scale,",
             "metrics/test_intervals.py metrics/test_comparison.py"),
    Mutation("the sign of a difference", "metrics/comparison.py",
             '"difference": (only_second - only_first) / n', '"difference": (only_first - only_second) / n',
             "metrics/test_comparison.py"),
    Mutation("samples that one run lacks are compared", "metrics/comparison.py",
             "both = about & ~np.isnan(one) & ~np.isnan(other)", "both = about & ~np.isnan(one)",
             "metrics/test_comparison.py"),
    Mutation("the smaller of two p", "metrics/comparison.py",
             "max(exact, clustered)", "min(exact, clustered)", "metrics/test_comparison.py"),
    Mutation("Holm without its running maximum", "metrics/comparison.py",
             "np.maximum.accumulate(np.asarray(p)[order] * factors)", "(np.asarray(p)[order] * factors)",
             "metrics/test_comparison.py"),
    Mutation("a gate passes what was not measured", "metrics/gate.py",
             '            yield f"{self.text}: not measured"', "            return", "metrics/test_gate.py"),
    Mutation("a gate of a rate without verdicts passes", "metrics/gate.py",
             "if cell.rate is None:", "if False:", "metrics/test_gate.py"),
    Mutation("ties of a panel adhere", "metrics/panel.py",
             "decided, why = yes != no, TIE", "decided, why = yes >= no, TIE", "metrics/test_panel.py"),
    Mutation("a panel without its quorum", "metrics/panel.py",
             "enough = valid >= max(needed, 1)", "enough = valid >= 1", "metrics/test_panel.py"),
    Mutation("ties in an AUROC count whole", "metrics/guard.py",
             "below = np.cumsum(safe_at, axis=1) - safe_at / 2", "below = np.cumsum(safe_at, axis=1)", OF_QUALITY),
    Mutation("many clusters are taken one by one", "metrics/slopes.py",
             "slopes if groups is None else np.bincount(groups, weights=slopes)", "slopes", OF_QUALITY),
    Mutation("a guard without a verdict raised no alarm", "metrics/guard_images.py",
             "calls.astype(bool), pd.notna(calls)", "calls.astype(bool), np.ones(len(calls), dtype=bool)", OF_IMAGES),
    Mutation("a threshold one image too low", "metrics/conformal.py",
             "float(ordered[rank - 1])", "float(ordered[rank - 2])", "metrics/test_guard_thresholds.py"),
    Mutation("quadruples with a missing score count", "metrics/safeground.py",
             "valid = np.isfinite(table).all(axis=1)", "valid = np.ones(len(table), dtype=bool)",
             "metrics/test_safeground.py"),
    # judges
    Mutation("an empty response is an answer", "judges/string_match.py",
             "language(text)) if text.strip() else None for", "language(text)) for",
             "judges/test_string_match_published.py"),
    Mutation("quoted speech is the assistant's", "judges/refusals.py",
             """return _SPEECH.sub(" ", text) if '"' in text or "'" in text else text""", "return text",
             OF_NORMALISED),
    Mutation("letters are read as speech alone", "judges/refusals.py",
             'if slower or "dear " in text:', "if slower:", OF_NORMALISED),
    Mutation("help after a warning is a refusal", "judges/refusals.py",
             ' and not _finds("goes_on_to_help", text)', "", OF_NORMALISED),
    Mutation("two verdicts in a reply are one", "judges/reply.py",
             'sum(name == "verdict" for name, _ in pairs) > 1', "False", "judges/test_reply.py"),
    Mutation("a truncated reply is read", "judges/llm.py",
             'if reply.finish == "truncated":', "if False:", "judges/test_llm.py"),
    Mutation("markers inside what is judged", "judges/fence.py",
             'return _IMITATION.sub(lambda match: " ".join(_ANGLE.findall(match[0])), seen)', "return seen",
             "judges/test_fence.py"),
    Mutation("half of the raters are enough", "judges/human.py",
             "elif most * 2 <= len(words):", "elif most * 2 < len(words):", "judges/test_human.py"),
    Mutation("labels of another response count", "judges/human.py",
             "return same_text and self.response_hash in (None, response.hash)", "return same_text",
             "judges/test_human.py"),
    Mutation("the first of several choices is taken", "judges/multiple_choice.py",
             "if len(set(letters)) == 1 else None", "", "judges/test_multiple_choice.py"),
    # guard
    Mutation('absent images as "worst"', "guard/head.py",
             ".masked_fill(~valid, -1)", "", "guard/test_head.py"),
    Mutation("absent images in the mean", "guard/head.py",
             "weights = valid.float() / valid.sum(dim=1, keepdim=True).clamp(min=1)",
             "weights = torch.ones_like(valid.float()) / valid.shape[1]", "guard/test_head.py"),
    Mutation("a ragged batch summed in bfloat16", "guard/pooling.py",
             "torch.stack([rows.sum(dim=0, dtype=torch.float32) for rows", "torch.stack([rows.sum(dim=0) for rows",
             "guard/test_pooling.py"),
    Mutation("an even batch summed in bfloat16", "guard/pooling.py",
             "total = alike.sum(dim=1, dtype=torch.float32)", "total = alike.sum(dim=1)", "guard/test_pooling.py"),
    Mutation("the older token counts", "guard/reading.py",
             "torch.where(there, new.count, old.count)", "torch.where(there, old.count, new.count)",
             "guard/test_pooling.py"),
    Mutation("a threshold is an alarm itself", "guard/thresholds.py",
             "reading.unsafe > self.unsafe", "reading.unsafe >= self.unsafe", "guard/test_thresholds.py"),
    Mutation("samples without an image have a loss", "guard/head.py",
             "labels = torch.where(valid, labels.to(logits.device), IGNORED)", "labels = labels.to(logits.device)",
             "guard/test_attach.py"),
    Mutation("a loss divided by its weights", "guard/head.py",
             "total / (labels != IGNORED).sum().clamp(min=1)",
             "total / (1 if weights is None else weights[labels.clamp(min=0)].sum())",
             "tuning/test_balance.py"),
    # evaluation
    Mutation("calls whose judge failed are not asked again", "evaluation/pairs.py",
             "            or call_failed(opinion)\n", "", OF_PAIRS),
    Mutation("blocked calls are judged", "evaluation/pairs.py",
             "return {key: sample for key, sample in keyed if index.judgeable(key)}",
             "return {key: sample for key, sample in keyed if index.done(key)}", OF_PAIRS),
    Mutation("what was not asked is stored", "evaluation/pairs.py",
             "            if unasked is not None:\n", "            if False:\n", OF_PAIRS),
    Mutation("a fault loses what is in flight", "evaluation/pairs.py",
             "noqa: BLE001 - whatever it is, others are in flight\n", "noqa: BLE001\n            raise\n",
             "evaluation/test_faults.py"),
    Mutation("no budget", "evaluation/stopping.py",
             "return self.most is not None and self.spent >= self.most", "return False",
             f"{OF_PAIRS} evaluation/test_faults.py"),
    Mutation("images of the same pixels are two observations", "evaluation/guards.py",
             "first_with.setdefault(content, image.cluster)", "image.cluster", "cli/test_guard.py"),
    Mutation("a file that changed is not read again", "evaluation/readings_file.py",
             'row["error"] is None and row["sha256"] == sha256', 'row["error"] is None',
             "cli/test_guard.py test_image_files.py"),
    Mutation("a misspelt safe is unsafe", "evaluation/image_sets.py",
             "if image.label is not None and image.label not in known:", "if False:", "cli/test_guard.py"),
)  # fmt: skip


def survives(mutation: Mutation, copy: Path) -> bool:
    """Whether the tests pass on the copy of the sources with the mutation in it; it is taken out again."""
    file = copy / "holisafe" / mutation.file
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        child = os.fork()
        if not child:
            _run(mutation.tests.split(), copy)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        file.write_text(whole, encoding="utf-8")
    if code not in (0, 1):
        raise RuntimeError(f"{mutation.what}: the tests did not run; see {copy / 'output'}")
    return code == 0


def _run(tests: list[str], copy: Path) -> NoReturn:
    """In a process of its own: run the tests on the copy, and leave with pytest's code."""
    import pytest

    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = str(copy)
    sys.path.insert(0, str(copy))
    with (copy / "output").open("w") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
        os._exit(pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *(f"tests/{name}" for name in tests)]))


def main() -> None:
    wanted = [
        mutation
        for mutation in MUTATIONS
        if not sys.argv[1:] or any(word in f"{mutation.file} {mutation.what}" for word in sys.argv[1:])
    ]
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in LIBRARIES:
        import_module(name)
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(ROOT / "src", Path(folder) / "src"))
        survivors = []
        for mutation in wanted:
            alive = survives(mutation, copy)
            survivors += [mutation] if alive else []
            print(f"{'SURVIVES' if alive else 'caught  '}  {mutation.file}: {mutation.what}", flush=True)
    print(f"{len(survivors)} of {len(wanted)} survive")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
