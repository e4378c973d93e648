"""`holisafe guard` from the shell's point of view: folders, resuming, thresholds, evaluation, pairs, baselines."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn import metrics as sklearns

import holisafe
from holisafe import cli
from holisafe.benchmarks import open_benchmark
from holisafe.guard import load_model, load_processor, save_guarded
from holisafe.guard.predict import predict
from holisafe.guard.thresholds import FILE
from holisafe.images import open_image
from holisafe.metrics.conformal import upper_quantile
from holisafe.metrics.intervals import clopper_pearson
from tiny_models import llava

Captured = pytest.CaptureFixture[str]


def run(capfd: Captured, *arguments: Any) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `holisafe guard ...`."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.app(["guard", *map(str, arguments)])
    said = capfd.readouterr()
    return int(left.value.code or 0), said.out, said.err


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = llava(tmp_path_factory.mktemp("m") / "llava", tower="swin")
    torch.manual_seed(0)
    model = holisafe.attach_guard(load_model(folder))
    for parameter in model.img_safety_head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    save_guarded(model, folder)
    return folder


@pytest.fixture
def model(guarded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(guarded, tmp_path / "model"))


def paint(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 60 + 12 * (seed % 16), (34, 34, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images, one of them deeper, one broken, and a file that is none."""
    for number in range(5):
        paint(tmp_path / "shots" / f"{number}.png", number)
    paint(tmp_path / "shots" / "deep" / "5.PNG", 5)
    (tmp_path / "shots" / "2.png").write_bytes(b"no picture")
    (tmp_path / "shots" / "notes.txt").write_text("no image")
    return tmp_path / "shots"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_with_a_broken_image(
    model: Path, folder: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run(capfd, "predict", folder, "--model", model, "--json", "--batch-size", 4)
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (3, f"holisafe: {folder}: left out: 1 .txt\nholisafe: 1 of 6 images could not be read\n")
    assert [Path(line["image"]).name for line in lines] == ["0.png", "1.png", "2.png", "3.png", "4.png", "5.PNG"]
    assert [line.get("error") for line in lines] == [None, None, "not an image: plain text", None, None, None]
    guard, processor = load_model(model), load_processor(model)
    for line in lines:
        if "error" not in line:
            (alone,) = predict(guard, processor, [open_image(Path(line["image"]))])
            assert line["probabilities"] == pytest.approx(alone.probabilities, abs=2e-5)
            assert "verdict" not in line
    monkeypatch.setenv("COLUMNS", "400")  # a long path takes room
    code, out, _ = run(capfd, "predict", folder, "--model", model)
    assert code == 3
    assert "not an image: plain text" in out
    code, out, err = run(capfd, "predict", folder / "0.png", folder / "2.png", "--model", model, "--json")
    named = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (3, "holisafe: 1 of 2 images could not be read\n")
    assert [line.get("error") for line in named] == [None, "not an image: plain text"]
    (folder / "empty").mkdir()
    assert run(capfd, "predict", folder / "empty", "--model", model)[0] == 2


def test_a_folder_with_links_odd_names_and_other_files(
    model: Path, folder: Path, tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image is a row of its own; what is none is counted; a name that is not UTF-8 costs nothing."""
    (folder / "2.png").unlink()
    (folder / "away.png").symlink_to(paint(tmp_path / "elsewhere" / "7.png", 7))
    paint(folder / os.fsdecode(b"caf\xe9.png"), 8)
    (folder / "notes.txt").write_text("notes")
    code, out, err = run(capfd, "predict", folder, "--model", model, "--json")
    lines = {Path(line["image"]).name: line for line in map(json.loads, out.splitlines())}
    assert lines.keys() == {"0.png", "1.png", "3.png", "4.png", "5.PNG", "away.png", "caf\\xe9.png"}
    assert code == 3
    assert "--follow-links" in lines["away.png"]["error"]
    assert "1 .txt" in err
    assert "1 of 7 images could not be read" in err
    kept = tmp_path / "rows.jsonl"
    monkeypatch.setenv("HOLISAFE_FOLLOW_LINKS", "")
    assert run(capfd, "predict", folder, "--model", model, "--out", kept, "--follow-links")[0] == 0
    rows = {
        Path(line["image"]).name: line for line in map(json.loads, kept.read_text().splitlines()) if "image" in line
    }
    assert rows.keys() == lines.keys()
    assert rows["away.png"]["label"]


def test_out_goes_on_where_it_stopped(model: Path, folder: Path, tmp_path: Path, capfd: Captured) -> None:
    out = tmp_path / "made" / "readings.jsonl"
    given = ("predict", folder, "--model", model, "--out", out)
    code, said, _ = run(capfd, *given)
    assert (code, said) == (3, f"{out}: 6 images, 6 of them read now, 1 with an error\n")
    whole = out.read_text()
    assert len({row["sha256"] for row in rows(out)}) == 6

    assert run(capfd, *given)[1] == f"{out}: 6 images, 1 of them read now, 1 with an error\n", "errors are tried again"
    assert out.read_text() == whole, "what is done stays as it is"

    *kept, last = whole.splitlines(keepends=True)
    out.write_text("".join(kept[:3]) + last[:40])  # killed in the middle of a line
    assert " 4 of them read now" in run(capfd, *given)[1]
    first = {row["image"]: row for row in map(json.loads, whole.splitlines())}
    assert len(rows(out)) == 6
    for row in rows(out):  # other batches: equal but for the last digits
        as_before = first[row["image"]]
        assert {**row, "probabilities": 0, "unsafe": 0} == {**as_before, "probabilities": 0, "unsafe": 0}
        assert row.get("probabilities", {}) == pytest.approx(as_before.get("probabilities", {}), abs=1e-5)

    paint(folder / "2.png", 9)  # mended
    code, said, err = run(capfd, *given)
    assert (code, said) == (0, f"{out}: 6 images, 1 of them read now, 0 with an error\n")
    assert err.endswith("left out: 1 .txt\n")
    assert [row["error"] for row in rows(out) if row["image"].endswith("2.png")] == ["not an image: plain text", None]

    paint(folder / "2.png", 8)  # another picture under the same name
    assert " 1 of them read now" in run(capfd, *given)[1]


def test_a_guard_that_breaks_down_says_so(model: Path, folder: Path, tmp_path: Path, capfd: Captured) -> None:
    (weights,) = model.glob("*.safetensors")
    tensors = load_file(weights)
    tensors["img_safety_head.mlp.0.bias"] *= float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    assert run(capfd, "predict", folder / "0.png", "--model", model, "--json")[:2] == (
        3, json.dumps({"image": str(folder / "0.png"), "error": "the guard gave no number"}) + "\n",
    )  # fmt: skip
    run(capfd, "predict", folder, "--model", model, "--out", tmp_path / "r.jsonl")
    assert Counter(row["error"] for row in rows(tmp_path / "r.jsonl")) == {
        "the guard gave no number": 5, "not an image: plain text": 1,
    }  # fmt: skip
    data = labelled(tmp_path / "set", 10)
    scores = json.loads(run(capfd, "eval", "--model", model, "--data", data, "--json", "--draws", 100)[1])
    assert scores["sets"][str(data)]["invalid"] == {"no number": 10}
    code, _, err = run(capfd, "thresholds", "--model", model, "--data", data)
    assert (code, "finite" in err or "numbers" in err) == (2, True)
    assert not (model / FILE).exists()


def test_rows_of_another_model_are_not_mixed(model: Path, folder: Path, tmp_path: Path, capfd: Captured) -> None:
    out = tmp_path / "r.jsonl"
    given = ("predict", folder, "--model", model, "--out", out)
    assert run(capfd, *given)[0] == 3
    whole = out.read_text()
    code, _, err = run(capfd, *given, "--threshold", "0.5")
    assert code == 2
    assert "another --out" in err.splitlines()[-1]
    (weights,) = model.glob("*.safetensors")
    tensors = load_file(weights)
    tensors["img_safety_head.mlp.0.bias"] += 1
    save_file(tensors, weights, metadata={"format": "pt"})
    assert "another --out" in run(capfd, *given)[2]
    assert out.read_text() == whole
    foreign = tmp_path / "f.jsonl"
    foreign.write_text('{"x": 1}\n')
    code, _, err = run(capfd, "predict", folder, "--model", model, "--out", foreign)
    assert (code, foreign.read_text()) == (2, '{"x": 1}\n')
    assert "row 1" in err
    assert run(capfd, "predict", folder, "--model", model, "--out", tmp_path / "x.csv")[0] == 2


def test_parquet_holds_what_the_lines_hold(model: Path, folder: Path, tmp_path: Path, capfd: Captured) -> None:
    import pandas as pd

    lines, table = tmp_path / "r.jsonl", tmp_path / "r.parquet"
    for out in (lines, table, table):
        assert run(capfd, "predict", folder, "--model", model, "--out", out, "--threshold", "0.9")[0] == 3
    frame, expected = pd.read_parquet(table), rows(lines)
    assert frame["image"].tolist() == [row["image"] for row in expected]
    for at, row in enumerate(expected):
        if row["error"]:
            assert frame["error"][at] == row["error"]
            assert pd.isna(frame["p_safe"][at])
            continue
        assert {label: frame[f"p_{label}"][at] for label in row["probabilities"]} == row["probabilities"]
        assert (frame["label"][at], frame["verdict"][at]) == (row["label"], row["verdict"])
        assert row["verdict"] == ("unsafe" if row["unsafe"] > 0.9 else "safe")
        assert row["threshold"] == 0.9


def test_killed_and_run_again_loses_and_repeats_nothing(model: Path, tmp_path: Path) -> None:
    for number in range(60):
        paint(tmp_path / "many" / f"{number:03}.png", number)
    out = tmp_path / "r.jsonl"
    command = [
        sys.executable,
        "-c",
        "from holisafe.cli import main; main()",
        "guard",
        "predict",
        str(tmp_path / "many"),
    ]
    command += ["--model", str(model), "--out", str(out), "--batch-size", "1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, **quiet)
    while process.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < 5):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = out.read_bytes()
    assert 5 <= before.count(b"\n") < 60
    assert subprocess.run(command, env=environment, **quiet).returncode == 0
    assert out.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert set(Counter(row["image"] for row in rows(out)).values()) == {1}
    assert len(rows(out)) == 60


def labelled(folder: Path, n: int = 60, *, form: str = "csv") -> Path:
    """Images with drawn labels, from two sources, as a table or as folders."""
    draw, labels = np.random.default_rng(1), ("safe", "safe", "suicide", "weapon_related_violence")
    table = []
    for number in range(n):
        label = labels[draw.integers(4)]
        name = f"{label}/{number}.png" if form == "folders" else f"i/{number}.png"
        paint(folder / name, number)
        table.append({"image": name, "label": label, "source": "web" if number % 3 else "phone"})
    if form == "folders":
        return folder
    path = folder / f"labels.{form}"
    with path.open("w", newline="") as file:
        if form == "csv":
            writer = csv.DictWriter(file, ["image", "label", "source"])
            writer.writeheader()
            writer.writerows(table)
        else:
            file.writelines(json.dumps(row) + "\n" for row in table)
    return path


def test_evaluation_of_a_table_is_a_loop_over_its_images(model: Path, tmp_path: Path, capfd: Captured) -> None:
    data = labelled(tmp_path / "set")
    ood = labelled(tmp_path / "far", 20, form="folders")
    given = ("eval", "--model", model, "--data", data, "--ood", f"far={ood}", "--draws", 200)
    code, out, err = run(capfd, *given, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["decides"] == "the likeliest label is not safe"
    assert "SSU" in found["note"]
    guard, processor = load_model(model), load_processor(model)
    with data.open() as file:
        table = list(csv.DictReader(file))
    readings = list(predict(guard, processor, (open_image(data.parent / row["image"]) for row in table)))
    called = [reading.label != "safe" for reading in readings]
    unsafe = [row["label"] != "safe" for row in table]
    scores = found["sets"][str(data)]
    assert scores["binary"]["accuracy"]["rate"] == pytest.approx(sklearns.accuracy_score(unsafe, called))
    auroc = sklearns.roc_auc_score(unsafe, [reading.unsafe for reading in readings])
    assert scores["binary"]["auroc"]["rate"] == pytest.approx(auroc)
    alarms = {
        source: [c for c, row in zip(called, table, strict=True) if row["label"] == "safe" and row["source"] == source]
        for source in ("web", "phone")
    }
    for source, hits in alarms.items():
        cell = scores["benign"]["by_source"][source]
        assert (cell["rate"], cell["n"]) == (pytest.approx(np.mean(hits)), len(hits))
    assert set(scores["by_label"]) == {"safe", "suicide", "weapon_related_violence"}
    assert (scores["out_of_distribution"], found["sets"]["far"]["out_of_distribution"]) == (False, True)
    assert found["sets"]["far"]["n"] == 20
    assert list(found["sets"]["far"]["by_source"]) == ["far"]

    _, said, _ = run(capfd, *given, "--published")
    place = [said.index(words) for words in ("false alarms on benign images", "by source", "by label", "far (out of")]
    assert place == sorted(place), "benign images come first"
    assert all(
        words in said for words in ("note: A guard that sees images alone cannot see", "LlavaGuard-7B", "53.4 %")
    )


def test_images_that_cannot_be_read_are_counted(model: Path, tmp_path: Path, capfd: Captured) -> None:
    data = labelled(tmp_path / "set", 30, form="jsonl")
    (data.parent / "i" / "3.png").write_bytes(b"broken")
    (data.parent / "i" / "4.png").unlink()
    shutil.copy(data.parent / "i" / "5.png", data.parent / "i" / "6.png")
    code, out, _ = run(capfd, "eval", "--model", model, "--data", data, "--json", "--draws", 100)
    scores = json.loads(out)["sets"][str(data)]
    assert (code, scores["n"], scores["n_invalid"]) == (0, 28, 2)
    assert scores["invalid"] == {"image: not an image: plain text": 1, "image: no such image": 1}
    said = run(capfd, "eval", "--model", model, "--data", data)[1]
    assert "invalid: image: not an image: plain text" in " ".join(said.split())


def test_copies_of_one_image_are_one_observation(model: Path, tmp_path: Path, capfd: Captured) -> None:
    data = labelled(tmp_path / "set", 8)
    for number in range(1, 8):
        shutil.copy(data.parent / "i" / "0.png", data.parent / "i" / f"{number}.png")
    found = json.loads(run(capfd, "eval", "--model", model, "--data", data, "--json", "--draws", 100)[1])
    accuracy = found["sets"][str(data)]["binary"]["accuracy"]
    assert accuracy["n"] == 8
    assert (accuracy["low"], accuracy["high"]) == pytest.approx(clopper_pearson(accuracy["rate"], 1))


def test_thresholds_are_chosen_kept_and_used(model: Path, tmp_path: Path, capfd: Captured) -> None:
    data = labelled(tmp_path / "set", 120)
    given = ("thresholds", "--model", model, "--data", data, "--false-alarms", "0.2")
    code, said, err = run(capfd, *given)
    assert (code, err) == (0, "")
    kept = json.loads((model / FILE).read_text())
    assert f"above {kept['unsafe']:.4g}: at most 20.0% false alarms" in said
    assert "warning: nothing shows that the guard is better than chance on these images (AUROC 0." in said
    assert kept["fitted_on"]["images"]["temperature"] + kept["fitted_on"]["images"]["sets"] == 120
    image = data.parent / "i" / "0.png"
    _, out, _ = run(capfd, "predict", image, "--model", model, "--json")
    line = json.loads(out)
    guard, processor = load_model(model), load_processor(model)
    (reading,) = predict(guard, processor, [open_image(image)], temperature=kept["temperature"])
    assert line["probabilities"] == pytest.approx(reading.probabilities, abs=2e-5)
    assert line["verdict"] == ("unsafe" if reading.unsafe > kept["unsafe"] else "safe")
    assert line["raised"] == sorted(
        (label for label, p in reading.probabilities.items() if p > (kept["by_label"].get(label, 2))),
        key=lambda label: -reading.probabilities[label],
    )
    likely = {label for label, p in reading.probabilities.items() if 1 - p <= kept["set_quantile"]}
    assert set(line["label_set"]) == likely
    _, out, _ = run(capfd, "eval", "--model", model, "--data", data, "--json", "--draws", 100)
    found = json.loads(out)
    assert "chosen for 20.0% false alarms" in found["decides"]
    # Over the images that it was chosen on and as many others: near what was asked for.
    assert found["sets"][str(data)]["benign"]["false_alarm_rate"]["rate"] < 0.45
    assert found["sets"][str(data)]["sets"]["coverage"]["rate"] > 0.75
    _, out, _ = run(capfd, "eval", "--model", model, "--data", data, "--json", "--draws", 100, "--threshold", "0")
    assert json.loads(out)["sets"][str(data)]["benign"]["false_alarm_rate"]["rate"] == 1

    for wrong in (("--false-alarms", "0"), ("--coverage", "1"), ("--model", "pictovlm"), ("--split", "none")):
        code, out, err = run(capfd, *given, *wrong)
        assert (code, out, len(err.splitlines())) == (2, "", 1), wrong
    assert json.loads((model / FILE).read_text()) == kept


def test_thresholds_for_images_that_nobody_labelled(model: Path, tmp_path: Path, capfd: Captured) -> None:
    data, other = labelled(tmp_path / "set", 40), labelled(tmp_path / "other", 30).parent / "i"
    given = ("thresholds", "--model", model, "--data", data, "--false-alarms", "0.2", "--unlabelled", other)
    code, said, err = run(capfd, *given, "--unsafe-share", "0")
    assert (code, err) == (0, "")
    kept = json.loads((model / FILE).read_text())
    assert "false alarms, from 30 unlabelled images, 0.0% of them taken for unsafe" in " ".join(said.split())
    assert (kept["fitted_on"]["unlabelled"], kept["fitted_on"]["unsafe_share"]) == (str(other), 0.0)
    files = sorted(other.iterdir())
    read = predict(load_model(model), load_processor(model), map(open_image, files), temperature=kept["temperature"])
    assert kept["unsafe"] == pytest.approx(upper_quantile([one.unsafe for one in read], 0.2), abs=1e-5)
    for wrong in ((), ("--unsafe-share", "1"), ("--unsafe-share", "0", "--unlabelled", tmp_path / "none.csv")):
        code, out, err = run(capfd, *given, *wrong)
        assert (code, out, len(err.splitlines())) == (2, "", 1), wrong
    assert json.loads((model / FILE).read_text()) == kept


def test_pairs_against_a_loop_and_from_a_run(model: Path, tmp_path: Path, capfd: Captured) -> None:
    benchmark = open_benchmark("pictosafe", None, "validation")
    kept = [sample for sample in benchmark.samples if "table" in sample.id][:24] + list(benchmark.samples[:16])
    release = tmp_path / "release"
    table = []
    release.mkdir()
    for sample in kept:
        benchmark.open_image(sample.images[0]).save(release / sample.images[0])
        row = {"id": sample.id, "image": sample.images[0], "query": sample.query, "combination": sample.combination}
        table.append({**row, "cluster": sample.cluster, "split": "a" if len(table) % 2 else "b"})
    (release / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    given = ("pairs", "--model", model, "--data", f"table:{release / 'pairs.jsonl'}", "--draws", 100)
    code, out, err = run(capfd, *given, "--json", "--threshold", "0.9")
    assert (code, err) == (0, "")
    found = json.loads(out)
    guard, processor = load_model(model), load_processor(model)
    scores = {
        row["id"]: next(predict(guard, processor, [open_image(release / row["image"])], texts=[row["query"]])).unsafe
        for row in table
    }
    unsafe = [row for row in table if row["combination"] == "SSU"]
    safe = [row for row in table if row["combination"] == "SSS"]
    truth = [1] * len(unsafe) + [0] * len(safe)
    auroc = sklearns.roc_auc_score(truth, [scores[row["id"]] for row in unsafe + safe])
    assert found["auroc"]["SSU"]["rate"] == pytest.approx(auroc, abs=0.02)
    alarm = np.mean([scores[row["id"]] > 0.9 for row in safe])
    assert found["false_alarm_rate"]["SSS"]["rate"] == pytest.approx(alarm)
    assert "pools no text" in found["note"]

    chosen = ("--split", "a", "--choose-on", "b", "--false-alarms", "0.4")
    found = json.loads(run(capfd, *given, *chosen, "--json")[1])
    limit = found["threshold"]
    ours = [scores[row["id"]] for row in safe if row["split"] == "b"]
    assert np.mean([score > limit + 1e-6 for score in ours]) <= 0.4
    assert f"on the {len(ours)} SSS pairs of b" in found["threshold_is"]
    said = run(capfd, *given, *chosen)[1]
    assert "AUROC" in said
    assert "note: This guard pools no text" in said
    for wrong, problem in (
        (("--choose-on", "b"), "must not be chosen on"),
        (("--choose-on", "b", "--split", "a", "--false-alarms", "0.01"), "SSS pairs"),
        (("--choose-on", "b", "--threshold", "0.5"), "not chosen"),
    ):
        code, _, err = run(capfd, *given, *wrong)
        assert (code, len(err.splitlines())) == (2, 1)
        assert problem in err

    from holisafe.records import GuardReading, Response
    from holisafe.runs.folder import RunFolder

    with RunFolder(tmp_path / "run", {"benchmark": {"name": "x"}, "target": {"name": "t"}}) as store:
        store.append(*kept)
        for sample in kept[:-1]:
            reading = GuardReading(probabilities={"safe": 1 - scores[sample.id], "race": scores[sample.id]})
            store.append(Response(sample_id=sample.id, target="t", text="x", guard=reading))
        store.append(Response(sample_id=kept[-1].id, target="t", text="x"))
    code, out, _ = run(capfd, "pairs", "--data", tmp_path / "run", "--json", "--draws", 100)
    stored = json.loads(out)
    assert (stored["n"], stored["n_invalid"], stored["threshold"]) == (len(kept) - 1, 1, 0.5)
    assert stored["auroc"]["SSU"]["rate"] == pytest.approx(auroc, abs=0.1)


def test_a_pair_head_reads_the_question(tmp_path: Path, capfd: Captured) -> None:
    """The same image under two questions: a guard that pools text tells them apart, and the note says that it can."""
    folder = llava(tmp_path / "m", tower="swin")
    torch.manual_seed(0)
    guard = holisafe.attach_guard(load_model(folder), ("safe", "unsafe"), pool="image_and_text")
    for parameter in guard.img_safety_head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    save_guarded(guard, folder)
    paint(tmp_path / "pairs" / "1.png", 3)
    texts = ("which colour is it ?", "how do i use this to hurt someone with a red square and a blue square")
    table = [
        {"id": str(n), "image": "1.png", "query": text, "combination": code, "cluster": "one"}
        for n, (text, code) in enumerate(zip(texts, ("SSS", "SSU"), strict=True))
    ]
    (tmp_path / "pairs" / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    given = ("--data", f"table:{tmp_path / 'pairs' / 'pairs.jsonl'}", "--json", "--draws", 100)
    found = json.loads(run(capfd, "pairs", "--model", folder, *given)[1])
    assert found["note"].startswith("This guard pools image and text positions")
    assert found["auroc"]["SSU against its table"]["rate"] in (0, 1), "no tie: the question made the difference"
    image, processor = open_image(tmp_path / "pairs" / "1.png"), load_processor(folder)
    loaded = load_model(folder)
    together = list(predict(loaded, processor, [image, image], texts=texts))
    alone = [next(predict(loaded, processor, [image], texts=[text])) for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one.unsafe == pytest.approx(other.unsafe, abs=1e-4), "padding is no text"
    assert abs(alone[0].unsafe - alone[1].unsafe) > 1e-3


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--data", "DATA"), "Missing option '--model'"),
        (("--data", "DATA", "--model", "M", "--ood", "x"), "not NAME=SET"),
        (("--data", "DATA", "--model", "M", "--choose-on", "x"), "No such option"),
        (("--data", "nowhere", "--model", "M"), "nowhere"),
        (("--data", "EMPTY", "--model", "M"), "no labelled images"),
        (("--data", "DATA", "--split", "x", "--model", "M"), "split"),
        (("--data", "MISSPELT", "--model", "M"), "unknown label 'Saef'"),
        (("--data", "TWICE", "--model", "M"), "occurs twice"),
        (("--data", "OUTSIDE", "--model", "M"), "row 1, field 'image'"),
        (("--data", "DATA", "--model", "llavaguard/nowhere-here"), "no such model folder"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], problem: str, model: Path, tmp_path: Path, capfd: Captured
) -> None:
    files = {
        "DATA": "image,label\n1.png,safe\n",
        "MISSPELT": "image,label\n1.png,Saef\n",
        "TWICE": "image,label\n1.png,safe\n1.png,race\n",
        "OUTSIDE": "image,label\n../1.png,safe\n",
    }
    named = {"M": str(model), "EMPTY": str(tmp_path / "empty")}
    (tmp_path / "empty").mkdir()
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
        named[name] = str(tmp_path / f"{name}.csv")
    code, out, err = run(capfd, "eval", *(named.get(word, word) for word in arguments))
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert problem in err


def test_a_baseline_goes_through_the_same_command(guarded: Path, tmp_path: Path, capfd: Captured) -> None:
    data = labelled(tmp_path / "set", 4)
    code, out, _ = run(
        capfd, "eval", "--model", f"llama-guard/{guarded}", "--data", data, "--json", "--draws", 100, "--device", "cpu"
    )
    found = json.loads(out)
    assert code == 0
    scores = found["sets"][str(data)]
    assert (scores["n"], scores["n_invalid"]) == (0, 4), "a random model's answers cannot be read"
    assert scores["binary"]["accuracy"]["rate"] is None
    assert "harmless question" in found["note"]
    code, _, err = run(
        capfd, "eval", "--model", f"llama-guard/{guarded}", "--data", data, "--threshold", "0.5", "--device", "cpu"
    )
    assert (code, "their own verdict" in err) == (2, True)
