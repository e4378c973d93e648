from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from holisafe.calibration.sweep_config import SweepConfig, read_sweep
from holisafe.errors import InputError

SIMPLE: dict[str, Any] = {
    "target": "toy/m",
    "out": "sweep",
    "safety": {"benchmark": "pictosafe", "choose": "validation", "report": "test"},
    "utility": {"benchmark": "pictosafe-utility", "choose": "validation", "report": "test"},
    "methods": [
        {"method": "reminder", "grid": {"wording": ["brief", "strict"], "placement": ["system", "before"]}},
        {"method": "reminder,wording=brief", "name": "after", "grid": {"placement": ["after"]}},
        {"method": "revision,layer=2", "fit": {"data": "pictosafe", "seeds": [0, 1]}, "grid": {"strength": [0.5, 1]}},
    ],
    "pick": {"maximise": "sra_u", "limits": ["sra_s loss <= 0.02"]},
}


def read(tmp_path: Path, **changes: Any) -> SweepConfig:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({**SIMPLE, **changes}, sort_keys=False))
    return read_sweep(path)


def test_every_combination_is_a_setting(tmp_path: Path) -> None:
    found = [list(method.settings()) for method in read(tmp_path).methods]
    assert [name for name, _ in found[0]] == [
        "reminder,wording=brief,placement=system",
        "reminder,wording=brief,placement=before",
        "reminder,wording=strict,placement=system",
        "reminder,wording=strict,placement=before",
    ]
    assert found[1] == [("after,placement=after", {"wording": "brief", "placement": "after"})]
    assert found[2] == [
        ("revision,layer=2,strength=0.5", {"layer": "2", "strength": "0.5"}),
        ("revision,layer=2,strength=1", {"layer": "2", "strength": "1"}),
    ]


SAFETY = SIMPLE["safety"]


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"tagret": "x"}, "tagret", "no such setting"),
        ({"methods": []}, "methods", "at least 1"),
        ({"methods": [{"method": "a,b"}]}, "methods.0.method", "not written NAME=VALUE"),
        ({"methods": [{"method": "a", "grid": {"x": []}}]}, "methods.0.grid.x", "at least 1"),
        ({"methods": [{"method": "a,x=1", "grid": {"x": [1]}}]}, "methods.0", "in method and in grid"),
        ({"methods": [{"method": "a"}, {"method": "a"}]}, None, "two settings are called 'a'"),
        ({"methods": [{"method": "a,x=1"}, {"method": "a,x=2"}]}, None, "two methods are called 'a'"),
        ({"methods": [{"method": "a", "fit": {"data": "d", "seeds": []}}]}, "methods.0.fit.seeds", "at least 1"),
        ({"compare": {"untouched": "toy/x"}}, None, "two settings are called 'untouched'"),
        ({"safety": {**SAFETY, "choose": "test"}}, "safety", "nothing may be chosen on what is reported"),
        ({"safety": {**SAFETY, "choose": {"benchmark": "pictosafe"}}}, "safety", "nothing may be chosen"),
        ({"safety": {**SAFETY, "choose": 1.5}}, "safety.choose", "less than 1"),
        ({"safety": {"benchmark": "pictosafe", "report": "test"}}, "safety.choose", "required"),
        ({"utility": {"benchmark": "pictosafe-utility", "choose": "validation"}}, "utility", "or lmms_eval alone"),
        ({"utility": {**SIMPLE["utility"], "choose": "test"}}, "utility", "nothing may be chosen"),
        ({"pick": {"maximise": "sra_v"}}, "pick", "no measure 'sra_v'"),
        ({"pick": {"maximise": "rr"}}, "pick", "rr is better when lower"),
        ({"pick": {"minimise": "sra_u"}}, "pick", "sra_u is better when higher"),
        ({"pick": {"maximise": "sra_u", "minimise": "rr"}}, "pick", "one of maximise and minimise"),
        ({"pick": {"maximise": "sra_u", "limits": ["sra_s loss"]}}, "pick.limits", "not written MEASURE"),
        ({"pick": {"maximise": "sra_u", "limits": ["sra_s loss <= 2"]}}, "pick.limits", "two points are 0.02"),
        (
            {"utility": {"lmms_eval": {"task": "gqa", "metric": "m", "choose": {"nobody": "f"}}}},
            None,
            "no setting is called 'nobody'",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_field(
    tmp_path: Path, changes: dict[str, Any], field: str | None, said: str
) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, **changes)
    assert raised.value.where == tmp_path / "sweep.yaml"
    assert said in raised.value.problem
    if field is not None:
        assert raised.value.field is not None
        assert raised.value.field.startswith(field)


def test_the_command_line_wins(tmp_path: Path) -> None:
    read(tmp_path)
    assert read_sweep(tmp_path / "sweep.yaml", {"limit": 7}).limit == 7
