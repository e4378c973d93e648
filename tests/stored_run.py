"""What a run folder says, for comparing two of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from holisafe.journal import read_json
from holisafe.records import Response, Sample, Verdict
from holisafe.runs.folder import read_manifest, read_records


def contents(run: Path) -> dict[str, Any]:
    """All that a finished run's folder says, apart from times and the order of lines; InputError without scores."""
    responses = {key: dataclasses.replace(r, latency_seconds=None) for key, r in read_records(run, Response).items()}
    return {
        "samples": read_records(run, Sample),
        "responses": responses,
        "verdicts": read_records(run, Verdict),
        "manifest": {key: value for key, value in read_manifest(run).items() if key != "created"},
        "scores": read_json(run / "scores.json"),
    }
