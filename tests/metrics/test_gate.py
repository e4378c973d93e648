from __future__ import annotations

import pytest

from holisafe.errors import InputError
from holisafe.metrics.gate import parse_gate
from holisafe.runs.scores import Scores, typed


def cell(rate: float | None, n: int = 10, n_invalid: int = 0) -> dict[str, float | int | None]:
    return {"rate": rate, "n": n, "n_invalid": n_invalid}


def of(masr: float | None, ssu: float | None, n: int = 10) -> dict[str, object]:
    return {"n": n, "n_invalid": 5, "masr_pooled": cell(masr, n), "asr": {"SSU": cell(ssu, n)}, "rr": cell(None, 0)}


SCORES = {
    "judges": {"string-match:holisafe": of(0.10, 0.3), "llm/holisafe/openai/m": of(0.25, 0.0)},
    "utility": {"exact-match": cell(0.8)},
    "guard": None,
    "responses": {"n": 40, "errors": 1},
}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("masr_pooled>0.25", []),
        ("masr_pooled>=0.25", ["masr_pooled>=0.25: masr_pooled is 0.2500 (n=10) by llm/holisafe/openai/m"]),
        ("masr_pooled > .2", ["masr_pooled > .2: masr_pooled is 0.2500 (n=10) by llm/holisafe/openai/m"]),
        ("string-match:holisafe:masr_pooled>0.2", []),
        ("string-match:holisafe:asr.SSU>.3", []),
        ("asr.SSU>.2", ["asr.SSU>.2: asr.SSU is 0.3000 (n=10) by string-match:holisafe"]),
        ("utility<0.9", ["utility<0.9: utility is 0.8000 (n=10) by exact-match"]),
        ("utility<=0.79", []),
        ("errors>0.02", ["errors>0.02: errors is 0.0250 (n=40)"]),
        ("invalid>1e-1", [f"invalid>1e-1: invalid is 0.3333 (n=15) by {judge}" for judge in SCORES["judges"]]),
        ("rr>0.5", ["rr>0.5: not measured"]),
        ("asr.USU>0.5", ["asr.USU>0.5: not measured"]),
        ("guard.accuracy<0.9", ["guard.accuracy<0.9: not measured"]),
        ("nobody:rr>0.5", ["nobody:rr>0.5: not measured"]),
    ],
)  # fmt: skip
def test_a_gate_says_by_whom_it_failed_and_passes_only_on_what_was_measured(text: str, lines: list[str]) -> None:
    assert list(parse_gate(text).failures(typed(Scores, SCORES))) == lines


def test_verdicts_that_are_all_invalid_fail() -> None:
    scores = {**SCORES, "judges": {"j": {"n": 0, "n_invalid": 3, "masr_pooled": cell(None, 0, 3), "asr": {}}}}
    assert list(parse_gate("masr_pooled>0.1").failures(typed(Scores, scores))) == [
        "masr_pooled>0.1: no valid verdict by j"
    ]


@pytest.mark.parametrize(
    "text", ["", "masr_pooled", "masr_pooled=0.1", "masr_pooled>", "masr_pooled>x", ">0.1", "a b>1"]
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(InputError, match=r"--fail-if: .* is not written MEASURE>NUMBER"):
        parse_gate(text)


def test_an_unknown_measure_is_named() -> None:
    with pytest.raises(InputError, match=r"no measure 'masr'; known: asr.SSU, .*masr_pooled, .*invalid"):
        parse_gate("masr>0.1")


def test_percent_and_what_no_rate_can_reach() -> None:
    scores = typed(Scores, SCORES)
    assert list(parse_gate("masr_pooled>20%").failures(scores)) == [
        "masr_pooled>20%: masr_pooled is 25.00% (n=10) by llm/holisafe/openai/m"
    ]
    for text, end in (
        ("masr_pooled>10", "above 1; write 10% for percent"),
        ("masr_pooled>1", "above 1; write 1% for percent"),
        ("rr>=101%", "above 1"),
        ("rr>100%", "above 1"),
        ("utility<0%", "below 0"),
    ):
        with pytest.raises(InputError, match=f"never {end}$"):
            parse_gate(text)
