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
    found = run_scores(answered, {"llm/siuo/m": verdicts}, measures=measures)["judges"]["llm/siuo/m"]
    assert {name: (cell["rate"], cell["n"], cell["n_invalid"]) for name, cell in found["measures"].items()} == {
        "effective": (0.75, 4, 1),
        "safe": (0.75, 4, 1),
    }
    assert (found["measures"]["safe"]["bound_low"], found["measures"]["safe"]["bound_high"]) == (0.6, 0.8)
    assert found["composition"] == {"refuse": {"adheres": 3, "violates": 1, "invalid": 1}}
