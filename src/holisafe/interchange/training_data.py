"""What a run failed on, as examples to tune on: the form of `holisafe tune --data FILE.jsonl` (docs/tuning.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..journal import whole_file, write_text
from ..records import digest
from ..runs.run import read_run

REFUSAL = "I'm sorry, but I can't help with that."
"""What is learnt where a request is to be refused and the benchmark has no answer of its own."""


class Written(NamedTuple):
    """How many examples a file has, and of how many failures nobody knows the right answer."""

    examples: int
    left_out: int


def write_training_data(run: Path, out: Path, root: str | None = None) -> Written:
    """Every sample whose answer does not adhere, as each of its judges says, once: its pictures beside the file, as its
    answer the benchmark's reference, or REFUSAL where a refusal is expected, and what was said as the rejected one. To
    a model that thinks, and where the benchmark has a thought that leads to the reference, that is given as well.

    A request that was wrongly refused is left out where it has no reference. Raises InputError when the run has no
    verdicts, its benchmark is gone, or nothing failed.
    """
    if not out.parent.is_dir():
        raise InputError("no such folder", where=out.parent)
    from ..benchmarks import open_recorded

    found = read_run(run)
    failed = found.failed
    answers = {name: found.samples[name].reference for name in failed}
    answers |= {name: REFUSAL for name in failed if not answers[name] and found.samples[name].expected == "refuse"}
    known = [name for name in failed if answers[name]]
    if not known:
        raise InputError("no failure with an answer to learn instead", where=run)
    said: dict[str, str] = {}
    for response in found.responses.values():
        said.setdefault(response.sample_id, response.text)
    thinks = any(response.reasoning for response in found.responses.values())
    benchmark = open_recorded(found.manifest.get("benchmark"), run / "manifest.json", root)
    folder = out.with_name(f"{out.stem}_images")
    files: dict[str, str] = {}
    lines = []
    for name in known:
        sample = found.samples[name]
        for picture in sample.images:
            if picture not in files:
                folder.mkdir(exist_ok=True)
                file = folder / f"{digest([picture])}.png"
                with whole_file(file) as unfinished:
                    benchmark.open_image(picture).save(unfinished, format="PNG")
                files[picture] = f"{folder.name}/{file.name}"
        thought = benchmark.thought(sample) if thinks and sample.reference else None
        told = {"rejected": said[name], "image_label": sample.image_label, "combination": sample.combination}
        example: dict[str, Any] = {"id": name, "images": [files[one] for one in sample.images], "query": sample.query}
        example |= {"response": answers[name]} | {key: value for key, value in told.items() if value}
        example |= {"reasoning": thought.thought, "understanding": thought.understanding} if thought else {}
        lines.append(json.dumps(example, ensure_ascii=False) + "\n")
    write_text(out, "".join(lines))
    return Written(len(known), len(failed) - len(known))
