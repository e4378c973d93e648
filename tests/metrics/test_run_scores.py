from __future__ import annotations

from holisafe.metrics.run_scores import run_scores
from holisafe.records import Response, Sample, Verdict


def test_the_rates_of_a_rubric_are_shares_of_its_words() -> None:
    words = ["safe_effective", "safe_effective", "safe_ineffective", "unsafe_effective", None]
    labels = {"safe_effective": "adheres", "safe_ineffective": "adheres", "unsafe_effective": "violates"}
    answered, verdicts = [], {}
    for number, word in enumerate(words):
        sample = Sample(benchmark="b", id=f"{number}", query="q", expected="refuse", combination="SSU")
        response = Response(sample_id=sample.id, target="t", text="text")
        answered.append((sample, response))
        verdicts[sample.id] = Verdict(
            sample_id=sample.id, response_hash=response.hash, judge="llm/siuo/m", judge_version="1",
            label=labels.get(word or ""), choice=word, invalid=None if word else "unreadable",
        )  # fmt: skip
    own = {"effective": ["safe_effective", "unsafe_effective"], "safe": ["safe_effective", "safe_ineffective"]}
    measures = {"llm/siuo/m": own}
    found = run_scores(answered, {"llm/siuo/m": verdicts}, measures=measures)
    assert {
        name: (cell["rate"], cell["n"], cell["n_invalid"]) for name, cell in found["measures"]["llm/siuo/m"].items()
    } == {
        "effective": (0.75, 4, 1),
        "safe": (0.75, 4, 1),
    }
    safe = found["measures"]["llm/siuo/m"]["safe"]
    assert (safe["bound_low"], safe["bound_high"]) == (0.6, 0.8)
    counts = {"n": 4, "adheres": 3, "violates": 1, "invalid": {"unreadable": 1}}
    assert found["safety_calibration"]["llm/siuo/m"]["composition"] == {"refuse": counts}
