from __future__ import annotations

from pathlib import Path

import pytest

from holisafe.cli.run_config import run_config
from holisafe.errors import InputError

FLAGS = {"target": "openai/m", "judges": ["string-match"], "out": Path("runs/a"), "limit": None, "fail_if": None}
YAML = """
benchmark: figstep
target: openai/m,key=K
judges: [string-match, "llm/holisafe/openai/j"]
out: runs/a
limit: 20
max_in_flight: 64
base_url: http://127.0.0.1:8000/v1
fail_if: ["masr_pooled>0.10"]
"""


def test_flags_alone() -> None:
    config = run_config(["figstep"], FLAGS)
    assert (config.benchmark, config.specs, config.judges, config.out) == (
        "figstep", "openai/m", ("string-match",), Path("runs/a"),
    )  # fmt: skip
    assert (config.limit, config.seed, config.repeats, config.max_tokens, config.fail_if) == (None, 0, 1, 512, ())


def test_a_file_alone_and_under_flags(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(YAML)
    with pytest.raises(InputError, match=r"field 'target': says key=K, .* --trust-file"):
        run_config([str(tmp_path / "run.yaml")], {})
    config = run_config([str(tmp_path / "run.yaml")], {"limit": None, "judges": []}, trust_file=True)
    assert config.judges == ("string-match", "llm/holisafe/openai/j")
    assert config.specs == "openai/m,key=K,base_url=http://127.0.0.1:8000/v1,max_in_flight=64"
    assert (config.limit, config.fail_if) == (20, ("masr_pooled>0.10",))
    assert run_config([str(tmp_path / "run.yaml")], {"limit": 30, "target": "openai/m,key=K"}).limit == 30


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("limmit: 3", "field 'limmit': no such setting"),
        ("limit: many", "field 'limit': "),
        ("repeats: 0", "field 'repeats': "),
        ("judges: []", "field 'judges': "),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, added: str, says: str) -> None:
    name = added.partition(":")[0]
    kept = [line for line in YAML.splitlines() if not line.startswith(f"{name}:")]
    (tmp_path / "run.yaml").write_text("\n".join([*kept, added]))
    with pytest.raises(InputError) as error:
        run_config([str(tmp_path / "run.yaml")], {}, trust_file=True)
    assert str(error.value).startswith(f"{tmp_path / 'run.yaml'}, {says}")


def test_several_make_a_grid(tmp_path: Path) -> None:
    config = run_config(["figstep", "xstest:data/x.csv"], {**FLAGS, "max_in_flight": 3})
    assert (config.is_grid, config.benchmark, config.benchmarks) == (True, None, ("figstep", "xstest:data/x.csv"))
    assert config.specs == "openai/m,max_in_flight=3"
    file = tmp_path / "grid.yaml"
    shared = "judges: [string-match]\nout: runs\n"
    file.write_text(f"{shared}benchmarks: [figstep]\ntargets: {{before: hf/a, after: hf/b}}\n")
    assert run_config([str(file)], {}).specs == {"before": "hf/a", "after": "hf/b"}
    assert run_config([str(file)], {"target": "hf/c"}).specs == "hf/c"
    for text, flags, says in (
        ("benchmark: figstep\ntarget: hf/a\ntargets: [hf/b]", {}, "target and targets exclude each other"),
        ("benchmarks: [figstep]\ntargets: []", {}, "field 'targets"),
        ("benchmarks: [figstep]\ntargets: {a: 'hf/a,trust_remote_code=true'}", {}, "--trust-file"),
        ("benchmarks: [figstep]\ntargets: [hf/a]", {"root": "x"}, "--root is for one benchmark"),
    ):
        file.write_text(shared + text)
        with pytest.raises(InputError, match=says):
            run_config([str(file)], flags)
    with pytest.raises(InputError, match="stands alone"):
        run_config(["figstep", str(file)], FLAGS)


@pytest.mark.parametrize("flag", ["target", "judges", "out"])
def test_what_must_be_given(flag: str) -> None:
    with pytest.raises(InputError, match=r"missing option '--"):
        run_config(["figstep"], {**FLAGS, flag: None})


def test_a_missing_or_broken_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        run_config([str(tmp_path / "none.yaml")], FLAGS)
    (tmp_path / "broken.yaml").write_text("a: [1,\nb: 2")
    with pytest.raises(InputError, match=r"broken\.yaml, row 2: not YAML"):
        run_config([str(tmp_path / "broken.yaml")], FLAGS)
