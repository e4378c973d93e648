"""`holisafe calibrate` and `holisafe run --calibrate` as their users meet them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

import toy_plugin  # noqa: F401  (registers the toy target and benchmark)
from api_server import ApiServer
from holisafe import cli
from holisafe.calibration.learned import Learned, load_learned
from holisafe.calibration.methods.reminder import wording
from holisafe.records import Response
from holisafe.runs.folder import read_manifest, read_records

Captured = pytest.CaptureFixture[str]


def called(capfd: Captured, *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as left:
        cli.app([str(word) for word in words])
    out, err = capfd.readouterr()
    return int(left.value.code or 0), out, err


def complaint(capfd: Captured, *words: object) -> str:
    """The one line that a command which cannot work leaves."""
    code, out, err = called(capfd, *words)
    assert (code, out) == (2, "")
    assert err.startswith("holisafe: ")
    assert err.count("\n") == 1
    return err


def run(
    out: Path, *calibrations: object, target: object = "toy/a", bench: str = "toy", more: tuple[str, ...] = ()
) -> list[Any]:
    options = [word for one in calibrations for word in ("--calibrate", one)]
    return ["run", bench, "--target", target, "--judge", "string-match", "--out", out, *options, *more]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool fitted once on the command line."""
    path = tmp_path_factory.mktemp("pool") / "pool.safetensors"
    words = ["fit", "few-shot,pool=8", "--target", "hf/pictovlm", "--data", "pictosafe", "--limit", "40", "--out", path]
    with pytest.raises(SystemExit) as left:
        cli.app(["calibrate", *map(str, words)])
    assert left.value.code == 0
    return path


def test_list_names_every_method(capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    from holisafe.registry import attacks, calibrations

    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = called(capfd, "calibrate", "list")
    assert (code, err) == (0, "")
    out, against = out.split("\n\n")[:2]
    assert [row.split()[0] for row in against.splitlines()[2:]] == list(attacks.entries())
    learns = {row.split()[0]: row.rstrip().endswith(" yes") for row in out.splitlines()[2:] if row.strip()}
    assert list(learns) == list(calibrations.entries())
    assert (learns["few-shot"], learns["reminder"]) == (True, False)


def test_fit_and_show_tell_where_a_file_came_from_and_no_text_of_its_pairs(pool: Path, capfd: Captured) -> None:
    code, out, err = called(capfd, "calibrate", "show", pool, "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert (facts["method"], facts["options"], facts["model"]["model"]) == ("few-shot", {"pool": "8"}, "pictovlm")
    assert (facts["data"]["benchmark"], facts["data"]["train"], facts["data"]["validation"]) == ("pictosafe", 40, 10)
    assert facts["features_of"] == facts["model"]["fingerprint"]
    told = json.loads(load_learned(pool).tensors["demonstrations"].tobytes())
    _, table, _ = called(capfd, "calibrate", "show", pool)
    assert re.search(r"features +tensor, ", table)
    for one in told:
        for hidden in (one["query"], one["answer"]):
            assert hidden not in out
            assert hidden not in table


def test_a_run_keeps_its_calibrations_and_goes_on_with_no_others(pool: Path, tmp_path: Path, capfd: Captured) -> None:
    out, pool_spec = tmp_path / "run", f"few-shot,file={pool},k=2"
    words = run(out, "reminder,wording=brief", pool_spec, more=("--limit", "4"))
    assert called(capfd, *words)[0] == 0
    target = read_manifest(out)["target"]
    assert target["name"] == f"toy/a+reminder,wording=brief+{pool_spec}"
    assert target["calibration"] == [
        {"method": "reminder", "placement": "system", "text": wording("brief")},
        {
            "method": "few-shot",
            "file": load_learned(pool).content,
            "k": 2,
            "choose": "random",
            "seed": 0,
            "images": True,
        },
    ]
    assert {response.target for response in read_records(out, Response).values()} == {target["name"]}
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for others in (
        (),
        ("reminder,wording=brief",),
        ("reminder,wording=strict", pool_spec),
        ("reminder,wording=brief,placement=before", pool_spec),
        (pool_spec, "reminder,wording=brief"),
        ("reminder,wording=brief", f"{pool_spec},seed=1"),
    ):
        said = complaint(capfd, *run(out, *others, more=("--limit", "4")))
        assert "this run measured something else" in said
        assert "calibration" in said
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert called(capfd, *words[:-1], "6")[0] == 0  # the same ones may ask more
    assert len(read_records(out, Response)) == 6


def test_an_api_is_asked_the_edited_messages(pool: Path, tmp_path: Path, capfd: Captured) -> None:
    with ApiServer() as server:
        target = f"openai/m,base_url={server.url}"
        words = run(tmp_path / "run", f"few-shot,file={pool},k=2,images=no", "reminder,placement=after", target=target)
        assert called(capfd, *words, "--limit", "3", "--no-probe")[0] in (0, 3)  # the server cuts or filters some
    for body in server.stats.bodies:
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user", "assistant", "user"]
        *_, (picture, last) = (message["content"] for message in body["messages"])
        assert (picture["type"], last["text"].endswith(wording("balanced"))) == ("image_url", True)
        assert not any(wording("balanced") in str(message["content"]) for message in body["messages"][:-1])


def test_a_local_model_answers_otherwise_when_reminded(tmp_path: Path, capfd: Captured) -> None:
    texts, tokens = {}, {}
    for name, calibrations in (("before", ()), ("after", ("reminder,wording=brief",))):
        words = run(tmp_path / name, *calibrations, target="hf/pictovlm,batch_size=12", bench="pictosafe",
                    more=("--split", "validation", "--limit", "12", "--max-tokens", "32"))  # fmt: skip
        assert called(capfd, *words)[0] == 0
        found = read_records(tmp_path / name, Response)
        texts[name] = {key: response.text for key, response in found.items()}
        tokens[name] = {key: response.usage["input_tokens"] for key, response in found.items()}
    assert texts["before"] != texts["after"]
    assert len({tokens["after"][key] - n for key, n in tokens["before"].items()}) == 1  # the same words for everyone


def test_a_dry_run_counts_the_edited_requests(pool: Path, tmp_path: Path, capfd: Captured) -> None:
    with ApiServer() as server:
        target = f"openai/m,base_url={server.url}"
        counted = {}
        for name, calibrations in (
            ("bare", ()),
            ("reminded", ("reminder,wording=balanced",)),
            ("shown", (f"few-shot,file={pool},k=2",)),
            ("both", (f"few-shot,file={pool},k=2", "reminder,wording=balanced")),
        ):
            words = run(tmp_path / "run", *calibrations, target=target, more=("--limit", "10", "--dry-run"))
            code, out, _ = called(capfd, *words)
            (row,) = (
                line for line in out.splitlines() if re.search(r"\b10 +[\d,]+ +[\d,]+", line) and "no API" not in line
            )
            assert code == 0
            counted[name] = int(re.findall(r"\b10 +([\d,]+)", row)[0].replace(",", ""))
    assert server.stats.bodies == []
    assert not (tmp_path / "run").exists()
    added = counted["reminded"] - counted["bare"]
    assert 10 * len(wording("balanced")) / 5 < added < 10 * len(wording("balanced")) / 3
    assert counted["shown"] - counted["bare"] > 10 * 2 * 85  # each with a picture
    assert counted["both"] - counted["shown"] == pytest.approx(added, abs=10)


def test_a_run_as_a_file(tmp_path: Path, capfd: Captured) -> None:
    settings = {
        "benchmark": "toy",
        "target": "toy/a",
        "judges": ["string-match"],
        "out": str(tmp_path / "run"),
        "limit": 3,
        "calibrate": ["reminder,wording=brief", "reminder,wording=strict,placement=after"],
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    assert called(capfd, "run", tmp_path / "run.yaml")[0] == 0
    methods = [one["placement"] for one in read_manifest(tmp_path / "run")["target"]["calibration"]]
    assert methods == ["system", "after"]
    flag = called(capfd, "run", tmp_path / "run.yaml", "--calibrate", "reminder", "--out", tmp_path / "other")
    assert flag[0] == 0
    assert read_manifest(tmp_path / "other")["target"]["name"] == "toy/a+reminder"  # a flag wins over the file
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**settings, "calibrate": "reminder"}))
    assert "run.yaml, field 'calibrate'" in complaint(capfd, "run", tmp_path / "run.yaml")


def later_schema(path: Path) -> None:
    save_file({"a": np.zeros(2)}, path, metadata={"holisafe": json.dumps({"schema": 9, "method": "few-shot"})})


WRONG: dict[str, tuple[str, list[str]]] = {
    "unknown method": ("remind", ["no calibration is called 'remind'", "did you mean 'reminder'"]),
    "unknown option": ("reminder,tone=mild", ["calibration reminder", "field 'tone'", "no such setting"]),
    "a bad value": ("few-shot,file={pool},k=odd", ["calibration few-shot", "field 'k'"]),
    "not written so": ("reminder,brief", ["'brief'", "NAME=VALUE"]),
    "no method": (",a=b", ["METHOD"]),
    "missing file": ("few-shot,file={folder}/gone.safetensors", ["gone.safetensors", "no such file"]),
    "missing wording": ("reminder,wording={folder}/gone.txt", ["gone.txt", "no such file"]),
    "a file of another method": ("few-shot,file={folder}/other.safetensors", ["holds what toy learnt, not few-shot"]),
    "a truncated file": ("few-shot,file={folder}/half.safetensors", ["half.safetensors", "is no file that"]),
    "a newer schema": ("few-shot,file={folder}/later.safetensors", ["later.safetensors", "'schema'", "newer holisafe"]),
    "too many": ("few-shot,file={pool},k=100", ["k=100", "pool.safetensors"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_calibration_that_cannot_be(name: str, pool: Path, tmp_path: Path, capfd: Captured) -> None:
    Learned("toy", {"a": np.zeros(2)}).save(tmp_path / "other.safetensors")
    (tmp_path / "half.safetensors").write_bytes(pool.read_bytes()[: pool.stat().st_size // 2])
    later_schema(tmp_path / "later.safetensors")
    spec, tokens = WRONG[name]
    said = complaint(capfd, *run(tmp_path / "run", spec.format(pool=pool, folder=tmp_path)))
    for token in tokens:
        assert token in said
    assert not (tmp_path / "run").exists()


FIT = ("--target", "hf/pictovlm", "--data", "pictosafe")


@pytest.mark.parametrize(
    ("words", "tokens"),
    [
        (("reminder", *FIT, "--out", "a.safetensors"), ["reminder learns nothing", "--calibrate reminder"]),
        (("remind", *FIT, "--out", "a.safetensors"), ["did you mean 'reminder'"]),
        (("few-shot", *FIT, "--out", "a.pt"), ["a.pt", "NAME.safetensors"]),
        (("few-shot,size=3", *FIT, "--out", "a.safetensors"), ["calibration few-shot", "field 'size'"]),
        (("few-shot", *FIT[:3], "gone", "--out", "a.safetensors"), ["no benchmark is called 'gone'"]),
        (("few-shot", *FIT[:3], "pictosafe-utility", "--out", "a.safetensors"), ["no safe pairs to fit on"]),
        (("few-shot", "--target", "hf/gone", *FIT[2:], "--out", "a.safetensors"), ["gone"]),
    ],
)
def test_what_cannot_be_fitted(
    words: tuple[str, ...], tokens: list[str], tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = complaint(capfd, "calibrate", "fit", *words, *(() if "few-shot,size" in words[0] else ("--limit", "8")))
    for token in tokens:
        assert token in said
    assert list(tmp_path.iterdir()) == []


def test_show_takes_only_learned_files(tmp_path: Path, capfd: Captured) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    assert "is no file that" in complaint(capfd, "calibrate", "show", tmp_path / "a.safetensors")
    assert "no such file" in complaint(capfd, "calibrate", "show", tmp_path / "gone.safetensors")
