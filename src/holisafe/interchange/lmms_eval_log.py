"""A run as a sample log of lmms-eval, a line a response: what its viewers read, and `lmms_eval.read_log` reads back.

`doc` is the sample, `input` its query, `resps` and `filtered_resps` the answer; `holisafe` holds the whole response,
so that it comes back as it was, and what every judge says of it. An attack stands in the response's target: `input` is
what the benchmark asks. No picture goes along, but its name.

Source: lmms-eval, `evaluator.py` and `loggers/evaluation_tracker.py`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..journal import whole_file
from ..records import Response, Sample, to_line
from ..runs.run import read_run


def write_log(run: Path, out: Path) -> int:
    """Write the log of a run folder, whole or not at all; gives its number of lines.

    Raises InputError for a folder without a run or responses, and for `out` in a folder that is not there.
    """
    if not out.parent.is_dir():
        raise InputError("no such folder", where=out.parent)
    read = read_run(run)
    place = {identity: at for at, identity in enumerate(read.samples)}
    known = [one for one in read.responses.values() if one.sample_id in place]
    if not known:
        raise InputError("the run has no responses yet", where=run)
    known.sort(key=lambda one: (one.repeat, place[one.sample_id]))
    with whole_file(out) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for one in known:
            judged = {name: verdicts[one.key].label for name, verdicts in read.judged.items() if one.key in verdicts}
            line = logged(read.samples[one.sample_id], one, place[one.sample_id], judged)
            print(json.dumps(line, ensure_ascii=False), file=file)
    return len(known)


def logged(sample: Sample, response: Response, position: int, judged: dict[str, str | None]) -> dict[str, Any]:
    """A line: the sample at its position among all, its answer, and the labels that judges gave it (None: invalid)."""
    stored = json.loads(to_line(response))
    doc = json.loads(to_line(sample))
    prompt, target = sample.conversation(), sample.reference or ""
    return {
        "doc_id": position,
        "doc": doc,
        "target": target,
        "input": prompt,
        "resps": [[response.text]],
        "filtered_resps": [response.text],
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(prompt),
        "target_hash": _hash(target),
        "holisafe": {"response": stored, "verdicts": judged},
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
