"""Any mutation of a valid stored file gives its result or ONE line, an InputError; never another exception.

    FILES: name -> (a valid file's content, what reads it)

Mutations: a value anywhere replaced by an odd one, removed or doubled; the file cut, or a piece of it replaced. Of what
is packed (logs, workbooks) the texts inside are mutated, of what is binary the bytes.
"""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from holisafe.calibration.demonstrations import unpack
from holisafe.calibration.learned import Learned, load_learned
from holisafe.calibration.sweep_config import read_sweep
from holisafe.cli.run_config import run_config
from holisafe.clients.answer import json_object, read_answer
from holisafe.clients.faults import fault
from holisafe.errors import InputError
from holisafe.evaluation.likelihoods_file import kept_scores
from holisafe.evaluation.readings_file import ReadingsFile
from holisafe.guard.thresholds import read_thresholds
from holisafe.interchange.inspect_logs import read_responses, write_eval_log
from holisafe.interchange.lmms_eval import read_log
from holisafe.judges.rubric import load_rubric
from holisafe.records import Response, Sample, Verdict
from holisafe.runs.columns import read_columns
from holisafe.runs.folder import FILES as RECORDS
from holisafe.runs.folder import read_records
from holisafe.runs.manifest import read_manifest
from holisafe.runs.run import read_run
from holisafe.runs.scores import read_scores
from holisafe.tables import rows
from holisafe.tuning.recipe import load_recipe

ODD = (
    *(None, True, -1, 0, 1e308, float("inf"), float("nan"), 10**400, 2**63, ""),
    *("\ud83d", "\0", "\x1b[2J", "=1+1", "../../etc/passwd", [], {}, [[]], {"": None}, [None] * 3, "9" * 5000),
)

MANIFEST = {
    "schema": 1, "created": "2026-01-01", "benchmark": {"name": "b", "root": None, "split": "test", "size": 1},
    "target": {"name": "replay/x"}, "settings": {"max_new_tokens": 5}, "seed": 0, "limit": None, "repeats": 1,
    "judges": {"j": "1"}, "judge_specs": {"j": "string-match"}, "judge_measures": {"j": {"m": ["refused"]}},
}  # fmt: skip
SAMPLE = {
    "schema": 1, "benchmark": "b", "id": "1", "query": "q", "expected": "refuse", "images": ["a.png"],
    "combination": "SSU", "category": "c", "meta": {"task": "t"},
}  # fmt: skip
RESPONSE = {
    "schema": 1, "sample_id": "1", "target": "t", "text": "no", "usage": {"input_tokens": 3}, "cost": 0.1,
    "guard": {"probabilities": {"safe": 0.5, "x": 0.5}},
}  # fmt: skip
VERDICT = {"schema": 1, "sample_id": "1", "response_hash": "h", "judge": "j", "judge_version": "1", "label": "refused"}
CELL = {"rate": 0.5, "n": 2, "n_invalid": 0, "low": 0.1, "high": 0.9}
SCORES = {"judges": {"j": {"n": 2, "n_invalid": 0, "asr": {"SSU": CELL}, "masr_pooled": CELL, "rr": CELL}}}
THRESHOLDS = {
    "schema": 1, "labels": ["safe", "x"], "temperature": 1.0, "false_alarm_rate": 0.1, "unsafe": 0.5,
    "by_label": {"x": 0.5}, "coverage": 0.9, "set_quantile": 0.5, "head": None, "fitted_on": {},
}  # fmt: skip
SWEEP = {
    "target": "hf/pictovlm", "out": "o", "safety": {"benchmark": "pictosafe", "choose": "validation", "report": "test"},
    "methods": [{"method": "reminder", "grid": {"wording": ["brief"]}}],
    "pick": {"maximise": "sra_u", "limits": ["sra_s loss <= 0.02"]},
}  # fmt: skip
RUN = {"benchmark": "pictosafe", "target": "replay/x.csv", "judges": ["string-match"], "out": "o", "limit": 3}
FRONT = {"name": "mine", "version": 1, "source": "me", "labels": {"a": "refused", "b": "answered"}, "sees": ["image"]}
LOG = {"doc_id": 0, "target": "x", "filtered_resps": ["no"], "resps": [["no"]], "input": "q", "doc": {"id": "1"}}
READING = {
    "image": "a.png", "sha256": "x", "error": None, "made_by": "m", "label": "safe", "unsafe": 0.1, "verdict": "safe",
    "threshold": 0.5, "raised": ["x"], "label_set": ["safe"], "probabilities": {"safe": 0.9, "x": 0.1},
}  # fmt: skip
LIKELIHOOD = {"sample_id": "1", "log_likelihood": -1.5, "error": None, "made_by": "m"}
SHOWN = {
    "id": "1", "query": "q", "answer": "a", "expected": "answer", "category": None, "description": "d",
    "pictures": ["a.png"], "pixels": ["h"],
}  # fmt: skip
LEARNED = {
    "schema": 1, "method": "guarded", "temperature": 1.0, "reader": None, "model": {"fingerprint": "x"},
    "options": {"apply": "reminder"}, "layers": {"a": {"shape": [2], "where": [0]}},
}  # fmt: skip
ANSWER = {
    "choices": [{"message": {"content": "no", "reasoning_details": [{"text": "x"}]}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1}},
    "error": {"message": "m", "code": 400, "metadata": {"raw": "x"}},
}  # fmt: skip

Reads = Callable[[Path, str], object]


def of_run(name: str, *reads: Callable[[Path], object]) -> Reads:
    """The file of a run folder whose other files are sound."""

    def read(folder: Path, text: str) -> None:
        whole = {"samples.jsonl": SAMPLE, "responses.jsonl": RESPONSE, "verdicts.jsonl": VERDICT}
        for other, record in whole.items():
            (folder / other).write_text(json.dumps(record) + "\n")
        (folder / "manifest.json").write_text(json.dumps(MANIFEST))
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        for one in reads:
            told(one, folder)

    return read


def of_file(name: str, read: Callable[[Path], object]) -> Reads:
    def reads(folder: Path, text: str) -> None:
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        told(read, folder / name)

    return reads


def told(read: Callable[[Path], object], place: Path) -> None:
    with suppress(InputError):
        read(place)


def of_records(kind: Any) -> Reads:
    return of_run(
        RECORDS[kind],
        lambda folder: read_records(folder, kind),
        lambda folder: read_columns(folder, kind),
        lambda folder: read_run(folder).verdicts,
    )


def of_log(member: str) -> Reads:
    """A log of Inspect's that is sound but for one of its files."""

    def read(folder: Path, text: str) -> None:
        whole = whole_log(folder)
        with zipfile.ZipFile(folder / "log.eval", "w") as archive:
            for name, content in {**whole, member: text}.items():
                archive.writestr(name, content.encode("utf-8", "surrogatepass"))
        told(read_responses, folder / "log.eval")

    return read


def as_log(folder: Path) -> None:
    write_eval_log(folder, folder / "as.eval", images=False)


def whole_log(folder: Path) -> dict[str, str]:
    """The files of the log of a run of one response."""
    if not (folder / "whole.eval").is_file():
        of_run("manifest.json")(folder, json.dumps(MANIFEST))
        write_eval_log(folder, folder / "whole.eval", images=False)
    with zipfile.ZipFile(folder / "whole.eval") as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def sheet(value: Any) -> str:
    """The XML of a workbook's sheet with two rows, which says the value."""
    book = openpyxl.Workbook()
    for row in (["id", "query", "expected"], ["1", 2.5, "VALUE"]):
        book.active.append(row)
    book.save(buffer := io.BytesIO())
    with zipfile.ZipFile(buffer) as archive:
        return archive.read("xl/worksheets/sheet1.xml").decode() + f"<!--{value}-->"


def of_sheet(folder: Path, text: str) -> None:
    openpyxl.Workbook().save(buffer := io.BytesIO())
    with zipfile.ZipFile(buffer) as whole, zipfile.ZipFile(folder / "t.xlsx", "w") as archive:
        for name in whole.namelist():
            content = text.encode("utf-8", "surrogatepass") if name.endswith("sheet1.xml") else whole.read(name)
            archive.writestr(name, content)
    told(lambda path: list(rows(path)), folder / "t.xlsx")


def packed(value: Any) -> str:
    """A parquet file, a byte a character."""
    table = pa.Table.from_pylist([value, value])
    parquet.write_table(table, buffer := io.BytesIO())
    return buffer.getvalue().decode("latin-1")


def learned(value: Any) -> str:
    """A safetensors file with one tensor and the value in its header, a byte a character."""
    said = {
        "__metadata__": {"holisafe": json.dumps(value)},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    header = json.dumps(said).encode()
    return (struct.pack("<Q", len(header)) + header + struct.pack("<ff", 1, 2)).decode("latin-1")


def of_bytes(name: str, read: Callable[[Path], object]) -> Reads:
    def reads(folder: Path, text: str) -> None:
        (folder / name).write_bytes(text.encode("latin-1", "replace"))
        told(read, folder / name)

    return reads


def facts(path: Path) -> None:
    """What the methods take out of a learned file."""
    found = load_learned(path)
    for name, kind in (("temperature", float), ("reader", str | None), ("model", dict[str, Any] | None)):
        found.fact(name, kind)
    found.numbers("a", 1)


def readings(path: Path) -> None:
    with ReadingsFile(path.with_suffix(""), "m") as file:
        file.finish()


def likelihoods(path: Path) -> None:
    with kept_scores(path.with_name("o.json"), "m"):
        pass


def of_demonstrations(folder: Path, text: str) -> None:
    def read(_: Path) -> None:
        told = np.frombuffer(text.encode("utf-8", "surrogatepass") or b" ", np.uint8)
        tensors = {"demonstrations": told, "pictures": np.zeros(9, np.uint8), "picture_ends": np.array([9])}
        for one in unpack(Learned("few-shot", tensors)):
            one.turns(with_pictures=False)

    told(read, folder)


def of_body(_: Path, text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    body = json_object(content)
    if body is not None:
        read_answer(body)
    fault(400, {}, content, frozenset({"seed"}))


def line(value: Any) -> str:
    return json.dumps(value) + "\n"


def front(value: Any) -> str:
    return f"---\n{written(value)}---\n{{{{query}}}} {{{{response}}}}\n"


def written(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=False)


CASES: dict[str, tuple[Any, Callable[[Any], str], Reads]] = {
    "manifest": (MANIFEST, json.dumps, of_run("manifest.json", read_manifest, lambda f: read_run(f).verdicts, as_log)),
    "samples": (SAMPLE, line, of_records(Sample)),
    "responses": (RESPONSE, line, of_records(Response)),
    "verdicts": (VERDICT, line, of_records(Verdict)),
    "scores": (SCORES, json.dumps, of_run("scores.json", read_scores)),
    "thresholds": (THRESHOLDS, json.dumps, of_file("guard_thresholds.json", read_thresholds)),
    "sweep": (SWEEP, written, of_file("s.yaml", read_sweep)),
    "run": (RUN, written, of_file("r.yaml", lambda path: run_config(str(path), {}))),
    "recipe": ({"seed": 1, "epochs": 1}, written, of_file("r.yaml", lambda path: load_recipe(str(path)))),
    "rubric": (FRONT, front, of_file("r.md", lambda path: load_rubric(str(path)))),
    "lmms-eval": (LOG, line, of_file("log.jsonl", lambda path: read_log(path, "t"))),
    "jsonl": (SAMPLE, line, of_file("t.jsonl", lambda path: list(rows(path)))),
    "json": ([SAMPLE, RESPONSE], json.dumps, of_file("t.json", lambda path: list(rows(path)))),
    "csv": (SAMPLE, lambda value: f"a,b\n{value}\n", of_file("t.csv", lambda path: list(rows(path)))),
    "tsv": (SAMPLE, lambda value: f"a\tb\n{value}\t1\n", of_file("t.tsv", lambda path: list(rows(path)))),
    "xlsx": ("x", sheet, of_sheet),
    "parquet": (SAMPLE, packed, of_bytes("t.parquet", lambda path: list(rows(path)))),
    "learned": (LEARNED, learned, of_bytes("l.safetensors", facts)),
    "readings": (READING, line, of_file("r.parquet.jsonl", readings)),
    "likelihoods": (LIKELIHOOD, line, of_file("o.json.scores.jsonl", likelihoods)),
    "demonstrations": ([SHOWN], json.dumps, of_demonstrations),
    "log's header": ({}, json.dumps, of_log("header.json")),
    "log's sample": ({}, json.dumps, of_log("samples/1_epoch_1.json")),
    "answer": (ANSWER, json.dumps, of_body),
}
"""Name -> a valid file's content, how it is written, what reads it. A log's content is taken from a whole one."""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, held in inner for place in places(held, (*path, key)))]


def with_odd(value: Any, path: tuple[Any, ...], odd: Any, how: str) -> Any:
    """The value with one place in it replaced, removed, or given a neighbour."""
    if not path:
        return odd
    whole = copy.deepcopy(value)
    holder = whole
    for key in path[:-1]:
        holder = holder[key]
    if how == "replace":
        holder[path[-1]] = odd
    elif how == "remove":
        del holder[path[-1]]
    elif isinstance(holder, dict):
        holder[str(odd)[:50]] = odd
    else:
        holder.append(odd)
    return whole


@pytest.mark.parametrize("name", CASES)
def test_any_mutation_of_a_file_gives_its_result_or_one_line(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    value, write, read = CASES[name]
    folder = tmp_path_factory.mktemp("fuzz")
    if name.startswith("log's"):
        member = {"log's header": "header.json", "log's sample": "samples/1_epoch_1.json"}[name]
        value = json.loads(whole_log(folder)[member])

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def mutated(data: st.DataObject) -> None:
        how = data.draw(st.sampled_from(("replace", "replace", "remove", "add", "cut", "text")))
        if how in ("cut", "text"):
            text = write(value)
            at = data.draw(st.integers(0, len(text)))
            put = data.draw(
                st.sampled_from(("", "\ud83d", "\0", "[" * 2000, "{", '"', ": ", "9" * 5000, "\n", "&a *a"))
            )
            text = text[:at] + (put + text[at + 1 :] if how == "text" else "")
        else:
            place = data.draw(st.sampled_from(places(value)))
            try:
                text = write(with_odd(value, place, data.draw(st.sampled_from(ODD)), how))
            except (yaml.YAMLError, pa.ArrowException, OverflowError, TypeError, AttributeError, UnicodeError):
                return  # cannot be written at all
        read(folder, text)

    read(folder, write(value))
    mutated()
