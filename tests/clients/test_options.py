"""What a spec may say, what it may not, and that keys stay unsaid."""

from __future__ import annotations

import pytest

from holisafe.clients.options import KEY, OPTIONS, ChatOptions, chat_options
from holisafe.errors import InputError
from holisafe.records import GenerationSettings
from holisafe.specs import is_local

LOCAL = "http://127.0.0.1:8000/v1"
SECRET = "sk-8f2a-not-to-be-seen"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY, "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def local(**written: str) -> ChatOptions:
    return chat_options("m", {"base_url": LOCAL, **written})


def test_defaults_and_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = local()
    assert (plain.max_in_flight, plain.timeout, plain.api_key, plain.encoding.format) == (32, 120, None, "own")
    monkeypatch.setenv("MY_KEY", f" {SECRET}\n")
    written = {
        "base_url": "https://example.org/v1/",
        "key": "MY_KEY",
        "max_in_flight": "4",
        "timeout": "1.5",
        "attempts": "2",
        "max_tokens": "7",
        "temperature": "0.5",
        "reasoning_tokens": "100",
        "reasoning_effort": "low",
        "reasoning_by": "openrouter",
        "max_side": "640",
        "image_format": "jpeg:80",
        "detail": "high",
        "input_price": "2.5",
        "output_price": "10",
        "max_bytes": "1000",
        "thoughts": "<plan>...</plan>",
        "stream": "true",
    }
    assert set(written) == set(OPTIONS)
    options = chat_options("m", written)
    assert (options.base_url, options.api_key) == ("https://example.org/v1", SECRET)
    assert (options.max_bytes, options.thoughts) == (1000, ("<plan>", "</plan>"))
    assert (options.stream, plain.stream) == (True, False)
    with pytest.raises(InputError, match="option stream is true or false, not 'yes'"):
        local(stream="yes")
    assert (options.encoding.max_side, options.encoding.format) == (640, "jpeg:80")
    assert options.cost({"input_tokens": 1_000_000, "output_tokens": 200_000}) == pytest.approx(4.5)
    assert options.cost({"input_tokens": 1}) is None
    assert plain.cost({"input_tokens": 1, "output_tokens": 1}) is None
    assert SECRET not in repr(options)
    assert options.generation(GenerationSettings(system="s")) == {
        "max_new_tokens": 7,
        "temperature": 0.5,
        "seed": 0,
        "system": "s",
        "reasoning_tokens": 100,
        "reasoning_effort": "low",
    }


def test_settings_hold_where_the_spec_is_silent() -> None:
    settings = GenerationSettings(max_new_tokens=9, temperature=0.3, seed=5, reasoning_tokens=20)
    generation = local().generation(settings)
    assert [generation[n] for n in ("max_new_tokens", "temperature", "seed", "reasoning_tokens")] == [9, 0.3, 5, 20]
    assert local(temperature="none").generation(settings)["temperature"] is None
    assert local(temperature="0").generation(settings)["temperature"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("basis_url", LOCAL),
        ("max_in_flight", "0"),
        ("max_in_flight", "2.5"),
        ("max_in_flight", "many"),
        ("timeout", "0"),
        ("timeout", "inf"),
        ("attempts", "0"),
        ("max_tokens", "-1"),
        ("temperature", "nan"),
        ("temperature", "-1"),
        ("max_side", "0"),
        ("image_format", "webp"),
        ("image_format", "png:9"),
        ("image_format", "jpeg:"),
        ("image_format", "jpeg:101"),
        ("detail", "medium"),
        ("input_price", "1"),
        ("base_url", "127.0.0.1:8000"),
        ("base_url", "ftp://127.0.0.1"),
        ("base_url", "http://"),
        ("base_url", "http://127.0.0.1:port"),
        ("base_url", "http://exa mple.org"),
        ("base_url", "http://a..b/v1"),
        ("base_url", "http://[::1"),
        ("max_bytes", "0"),
        ("thoughts", "<plan>"),
        ("thoughts", "<plan>..."),
    ],
)
def test_unusable_options_are_named(name: str, value: str) -> None:
    with pytest.raises(InputError, match=r"known: base_url" if name == "basis_url" else name):
        local(**{name: value})


def test_local_servers_need_no_key_and_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("http://localhost:1/v1", "http://[::1]:1", "http://127.0.0.9"):
        assert is_local(address)
        assert chat_options("m", {"base_url": address}).api_key is None
    for address in ("http://127.0.0.1.example.org", "http://localhost.example.org", "https://api.openai.com/v1"):
        assert not is_local(address)
        with pytest.raises(InputError, match=KEY):
            chat_options("m", {"base_url": address})
    monkeypatch.setenv("OPENAI_BASE_URL", LOCAL)
    assert chat_options("m", {}).base_url == LOCAL


@pytest.mark.parametrize(
    "written",
    [
        {"key": SECRET},
        {"key": "8f2aabcdef"},
        {"base_url": f"https://user:{SECRET}@example.org/v1"},
        {"base_url": f"https://{SECRET}@example.org/v1"},
        {"base_url": f"https://example.org/v1?key={SECRET}"},
        {"base_url": f"example.org?key={SECRET}"},
    ],
)
def test_a_key_in_the_wrong_place_is_not_repeated(written: dict[str, str]) -> None:
    with pytest.raises(InputError) as caught:
        local(**written)
    assert written.get("key", SECRET) not in str(caught.value)


def test_a_key_that_no_header_can_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-ä")
    with pytest.raises(InputError) as caught:
        local(key="MY_KEY")
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    "proxy", ["garbage proxy", "socks5://127.0.0.1:1", "http://", "http://h:port", "http://u:pass@h:0"]
)
def test_a_proxy_that_is_none_is_the_users_mistake(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, proxy)
    with pytest.raises(InputError, match="HTTPS_PROXY") as caught:
        chat_options("m", {"base_url": "https://example.org/v1", "key": "MY_KEY"})
    assert "pass" not in str(caught.value)
    assert local().proxy is None, "this machine is reached directly"


def test_a_proxy_is_used_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    monkeypatch.setenv("https_proxy", "http://u:hidden@proxy.example:8080")
    monkeypatch.setenv("no_proxy", "inside.example")
    options = chat_options("m", {"base_url": "https://example.org/v1", "key": "MY_KEY"})
    assert options.proxy == "http://u:hidden@proxy.example:8080"
    assert "hidden" not in repr(options)
    assert chat_options("m", {"base_url": "https://inside.example/v1", "key": "MY_KEY"}).proxy is None
