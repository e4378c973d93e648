"""Which judges of a manifest go on by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holisafe.errors import Notice
from holisafe.judges import open_judge
from holisafe.judges.earlier import Kept, recorded, with_earlier


def manifest(**specs: str) -> dict[str, Any]:
    return {"judges": dict.fromkeys(specs, "1"), "judge_specs": dict(specs)}


def test_judges_of_responses_alone_go_on() -> None:
    names = ["string-match:normalised", "exact-match", "multiple-choice", "string-match:holisafe"]
    panel = with_earlier([open_judge("string-match")], manifest(**{name: name for name in names}))
    assert [judge.name for judge in panel] == names
    assert not any(isinstance(judge, Kept) for judge in panel)


@pytest.mark.parametrize(
    "spec",
    [
        "llm/holisafe/hf/DIR,trust_remote_code=true",
        "llm/holisafe/hf/DIR",
        "llm/holisafe/openai/m,base_url=https://evil.example/v1,key=HOME",
        "llm/./rubric.md/replay/FILE",
        "human:/dev/zero",
        "exact-match",  # of another name: whose verdicts would these be?
        "string-match:no-such-mode",
        "gone:x",
        "",
    ],
)
def test_any_other_keeps_what_it_said_and_opens_nothing(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("a target was opened")

    monkeypatch.setattr("holisafe.judges.llm.open_target", refused)
    with pytest.warns(Notice, match="keeps the verdicts it gave"):
        (kept,) = with_earlier([], manifest(mine=spec))
    assert isinstance(kept, Kept)
    assert (kept.name, kept.version, kept.spec) == ("mine", "1", spec)


def test_named_again_it_is_the_users(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("sample_id,label\na,refused\n")
    again = open_judge(f"human:{tmp_path / 'labels.csv'}")
    assert with_earlier([again], manifest(**{again.name: "human:/elsewhere/labels.csv"})) == [again]


def test_its_own_rates_stay() -> None:
    known = {**manifest(mine="llm/x/openai/m"), "judge_measures": {"mine": {"clear_rate": ["clear"]}}}
    with pytest.warns(Notice):
        panel = with_earlier([], known)
    assert recorded(panel) == known | {"judge_measures": {"mine": {"clear_rate": ["clear"]}}}
