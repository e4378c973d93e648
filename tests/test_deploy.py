"""What is in `deploy/` fits the commands, ports, metrics and pins that are here, and holds no secret.

Other people's tools check the files' form (docs/deploy.md says which); here it is whether they say true things.
"""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from holisafe.cli import app
from holisafe.guards import open_guard
from holisafe.records import GenerationSettings
from holisafe.serving.counters import Counters
from holisafe.serving.keys import read_keys
from holisafe.serving.policy import read_policy
from holisafe.specs import parse_spec
from holisafe.targets import open_target

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())


def loaded(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


COMPOSE = loaded("compose.yaml")
SERVICES = COMPOSE["services"]


def unit() -> configparser.RawConfigParser:
    """The unit's settings; of one that stands several times the last."""
    found = configparser.RawConfigParser(strict=False, delimiters="=", comment_prefixes="#")
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string((DEPLOY / "holisafe-serve.service").read_text().replace("\\\n", " "))
    return found


def commands() -> Iterator[tuple[str, list[str]]]:
    """Where a command of ours stands, and its words."""
    yield "compose.yaml", shlex.split(SERVICES["gateway"]["command"])
    words = shlex.split(unit()["Service"]["ExecStart"])
    assert words[0] == "/opt/holisafe/bin/holisafe"
    yield "holisafe-serve.service", words[1:]
    for path in (DEPLOY / "ray-cluster.yaml", ROOT / "docs" / "deploy.md"):
        text = re.sub(r"\\\n\s*", " ", path.read_text())
        for line in re.findall(r"\bholisafe (?:serve|scan|guard|judge|report|run) [^'`\n]*", text):
            yield path.name, shlex.split(line.split("  #")[0])[1:]


COMMANDS = list(commands())


def options(words: list[str]) -> dict[str, Any]:
    """A command's options as the command line reads them. Raises what it says of one that it does not know."""
    command: Any = typer.main.get_command(app)
    context: Any = typer.Context(command, info_name="holisafe")
    while hasattr(command, "resolve_command"):
        _, command, words = command.resolve_command(context, words)
    found: dict[str, Any] = command.make_context("holisafe", list(words)).params
    return found


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=[f"{place}-{n}" for n, (place, _) in enumerate(COMMANDS)])
def test_every_command_is_one(place: str, words: list[str]) -> None:
    assert options(words)


@pytest.mark.parametrize("place", ["compose.yaml", "holisafe-serve.service"])
def test_the_gateway_can_be_started_as_it_stands_there(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "a-key-for-the-test")
    given = options(dict(COMMANDS)[place])
    open_target(given["target"], GenerationSettings())
    (guard,) = given["guard"]
    assert open_guard(guard).takes == {"image"}
    assert read_policy(DEPLOY / Path(given["policy"]).name).failures.guard_down == "closed"
    assert given["keys"] is not None


def test_services_are_where_others_look_for_them() -> None:
    gateway = options(shlex.split(SERVICES["gateway"]["command"]))
    for spec in (gateway["target"], *gateway["guard"]):
        told = parse_spec(spec)
        host, port = re.fullmatch(r"http://(\w+):(\d+)/v1", told.options["base_url"]).groups()  # type: ignore[union-attr]
        words = shlex.split(SERVICES[host]["command"])
        assert words[words.index("--port") + 1] == port
        assert words[words.index("--served-model-name") + 1] == told.name.rpartition("/")[2]
        assert told.options["key"] in SERVICES["gateway"]["environment"]
        assert told.options["key"] in SERVICES[host]["environment"]
    assert SERVICES["guard"]["environment"]["VLLM_PLUGINS"] == "holisafe"
    assert SERVICES["gateway"]["ports"] == [f"127.0.0.1:{gateway['port']}:{gateway['port']}"]
    scraped = {
        name: target
        for job in loaded("prometheus.yml")["scrape_configs"]
        for places in job["static_configs"]
        for target in places["targets"]
        for name in [target.partition(":")[0]]
    }
    assert scraped == {"gateway": f"gateway:{gateway['port']}", "model": "model:8000", "guard": "guard:8000"}


def test_what_is_mounted_is_there_and_every_secret_is_declared() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.split(":")
            there = source in COMPOSE["volumes"] or source == "../models" or (DEPLOY / source).is_file()
            assert there, f"{name}: {source}"
            assert target.startswith("/")
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
        assert set(service["networks"]) <= COMPOSE["networks"].keys()
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_nothing_runs_as_root_or_writes_where_it_should_not() -> None:
    for name, service in SERVICES.items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert "no-new-privileges:true" in service["security_opt"], name
    stages = re.split(r"^FROM ", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)[2:]
    assert len(stages) == 2
    for stage in stages:
        assert re.search(r"^USER 10001:10001$", stage, re.MULTILINE)
        assert "HEALTHCHECK" in stage
    service = unit()["Service"]
    hard = ("DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateUsers", "RestrictNamespaces")
    assert [service[name] for name in hard] == ["yes"] * len(hard)
    assert (service["ProtectSystem"], service["CapabilityBoundingSet"]) == ("strict", "")


def test_alerts_are_about_numbers_that_there_are() -> None:
    """Names and labels as the gateway's own page has them, once every number has been counted once."""
    counters = Counters()
    for metric in vars(counters).values():
        if getattr(metric, "_labelnames", ()):
            metric.labels(*metric._labelnames)
    page = counters.page().decode()
    text = (DEPLOY / "alerts.yml").read_text()
    used = re.findall(r"(holisafe_\w+)(?:\{(\w+)=)?", text)
    assert len(used) > 5
    for name, label in used:
        assert re.search(rf"^{name}\{{[^}}]*{label}", page, re.MULTILINE), (name, label)
    source = "".join(path.read_text() for path in (ROOT / "src/holisafe/serving").glob("*.py"))
    for part in re.findall(r'part="(\w+)"', text):
        assert f'labels("{part}"' in source, part


def test_images_are_pinned_and_packages_come_by_their_pins() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    bases = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    assert all(
        re.search(r":v?\d+\.\d+\.\d+", bases[name]) for name in re.findall(r"^FROM \$\{(\w+)\}", text, re.MULTILINE)
    )
    assert bases["PYTHON"].startswith("python:3.11")
    for line in re.findall(r"pip install [^\n&;]*", text):
        assert re.search(r"--require-hashes --no-deps|-c constraints\.txt|--no-deps", line), line
    besides = re.search(r"'\^\(([\w|-]+)\)=='", text)
    assert besides is not None
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert set(besides[1].split("|")) <= pinned
    copied = {name for names in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for name in names.split()}
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", SERVICES["prometheus"]["image"])


def test_no_secret_and_no_index_is_in_there(tmp_path: Path) -> None:
    services = "|".join([*SERVICES, r"127\.0\.0\.1"])
    for path in FILES:
        text = path.read_text()
        for address in re.findall(r"https?://[^\s'\"]+", text):
            assert re.match(rf"http://({services})[:/]", address), f"{path.name}: {address}"
        assert not re.search(r"index-url|find-links|trusted-host|pypi|sk-[A-Za-z0-9]{8}|password\s*[:=]", text), path
    example = re.search(r"openssl rand -hex (\d+)", (ROOT / "docs" / "deploy.md").read_text())
    assert example is not None
    (tmp_path / "keys").write_text("0" * 2 * int(example[1]))
    assert read_keys(tmp_path / "keys"), "a key made so is long enough"
