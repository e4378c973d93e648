"""Runs as JUnit XML, which CI systems show: a suite a run, a test case for every gate and every measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET  # writes only; nothing is parsed

from ..metrics.gate import Gate
from ..metrics.measured import everything
from ..runs.scores import Scores
from .numbers import cell_text


class Suite(NamedTuple):
    """A run: what it is called, its folder, and its scores, or why it has none."""

    name: str
    folder: str
    scores: Scores | None
    fault: str


def junit_xml(runs: Sequence[Suite], gates: Sequence[Gate]) -> str:
    """The document. A gate that does not hold its measure back is a failure; a run without scores, or with calls that
    failed, has an error."""
    suites = ET.Element("testsuites")
    for run in runs:
        suite = ET.SubElement(suites, "testsuite", name=_clean(run.name))
        if run.scores is None:
            _case(suite, "run", run).append(ET.Element("error", message=_clean(run.fault)))
        else:
            _of_run(suite, run, run.scores, gates)
        for kind, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
            suite.set(kind, str(sum(1 for _ in suite.iter(tag))))
    ET.indent(suites)
    return f"{ET.tostring(suites, encoding='unicode', xml_declaration=True)}\n"


def _of_run(suite: Any, run: Suite, scores: Scores, gates: Sequence[Gate]) -> None:
    calls, failed = _case(suite, "calls", run), scores.responses.errors + sum(scores.judge_errors.values())
    if failed:
        calls.append(ET.Element("error", message=f"{failed} calls failed"))
    for gate in gates:
        case = _case(suite, f"gate {gate.text}", run)
        for line in gate.failures(scores):
            case.append(ET.Element("failure", message=_clean(line)))
    for section in everything(scores):
        for measure, found in section.items():
            case = _case(suite, f"{measure.label} by {measure.judge}", run)
            ET.SubElement(case, "system-out").text = _clean(cell_text(found))


def _case(suite: Any, name: str, run: Suite) -> Any:
    return ET.SubElement(suite, "testcase", name=_clean(name), classname=_clean(run.folder))


def _clean(text: str) -> str:
    """Without what no XML may hold."""
    return "".join(c if c in "\t\n" or " " <= c < "\ufffe" or c > "\uffff" else "?" for c in text)
