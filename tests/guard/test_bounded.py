"""A stranger's chat template or pattern: whatever it does, one line that names the file, within seconds and memory."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from holisafe.errors import InputError
from holisafe.guard import bounded, load_processor
from holisafe.guard.conversation import answer_text, prompt_text
from holisafe.guard.folders import shipped_folder
from holisafe.records import Message

ASKED = [Message("system", "be kind"), Message("user", "what is it")]
ENDLESS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a power": "{% set n = namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x ** 9 %}{% endfor %}",
    "a repeated text": "{{ 'a' * 10**11 }}",
    "a doubled text": "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "a wide number": "{{ '%9999999999d' % 1 }}",
    "a centred text": "{{ 'a'.center(10**11) }}",
    "a long list": "{{ [1] * 10**11 }}",
    "a text to hand over": "{{ 'a' * 10**8 }}",
}
FAILING = {
    "a wide range": "{% for i in range(10**9) %}{% endfor %}",
    "no number": "{{ 1 / 0 }}",
    "no such thing": "{{ messages['a']['b'].c() }}",
    "no such key": "{{ {}.pop('a') }}",
    "no end of macros": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "deep": "{{ " + "(" * 99999,
    "Python": "{{ cycler.__init__.__globals__.os.system('true') }}",
    "Python, through a filter": "{{ ''|attr('__class__') }}{{ (''|attr('format')).__self__.__class__ }}",
    "Python, through format": "{{ '{0.__class__.__mro__}'.format(1).x.y }}",
    "no template": "{% for",
    "another file": "{% include '/etc/passwd' %}",
}


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(bounded, "SECONDS", 1)
    bounded._process.cache_clear()
    yield load_processor("pictovlm")
    bounded._process.cache_clear()


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_without_end_is_one_line(processor: Any, name: str) -> None:
    processor.chat_template = ENDLESS[name]
    for _ in range(2):  # the second time without trying
        with pytest.raises(InputError, match=f"^{shipped_folder()}: its chat template takes more than . s or 2 GiB"):
            prompt_text(processor, ASKED)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert most < 2.2 * 2**20, "kibibytes"


@pytest.mark.parametrize("name", FAILING)
def test_a_template_that_fails_is_one_line(processor: Any, name: str) -> None:
    processor.chat_template = FAILING[name]
    with pytest.raises(InputError, match=f"^{shipped_folder()}: the chat template does not render .* whole"):
        prompt_text(processor, ASKED)


@pytest.mark.parametrize("template", [{"other": "x"}, ["x"], 3, {"default": 3}])
def test_a_template_that_is_no_text(processor: Any, template: Any) -> None:
    processor.chat_template = template
    with pytest.raises(InputError, match="its chat template is no text"):
        prompt_text(processor, ASKED)


def test_after_one_without_end_others_are_rendered(processor: Any) -> None:
    good = processor.chat_template
    processor.chat_template = ENDLESS["a repeated text"] + " "
    with pytest.raises(InputError, match="takes more than"):
        prompt_text(processor, ASKED)
    processor.chat_template = {"default": good, "other": ENDLESS["loops"]}
    assert prompt_text(processor, ASKED) == "<s><|system|>be kind<|user|>what is it<|assistant|>"
    assert answer_text(processor, ASKED, "a dog", prompt_text(processor, ASKED)) == "a dog</s>"


def test_what_is_rendered_is_what_transformers_renders(processor: Any) -> None:
    turns = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "caf\u00e9 \U0001f600 {{ 1 }}\n\0"}]}
    ]
    for template in (
        processor.chat_template,
        "{{ messages | tojson(indent=2) }}{{ bos_token }}{{ pad_token }}{{ add_generation_prompt }}",
        "{%- for m in messages %}\n  {%- if loop.first %}\n    {{- m.role ~ '\\n' }}{% endif %}{% break %}{% endfor %}",
    ):
        processor.chat_template = template
        for begun in (False, True):
            expected = processor.apply_chat_template(turns, add_generation_prompt=begun, tokenize=False)
            assert bounded.render(processor, turns, add_generation_prompt=begun) == expected


@pytest.mark.parametrize("pattern", ["((((.*)*)*)*)*!", ".*.*.*.*.*.*.*.*.*!", "(a|a)*"])
def test_a_pattern_without_end_is_one_line(processor: Any, pattern: str) -> None:
    with pytest.raises(InputError, match=r"^adapter_config.json, field 'target_modules': takes more than . s"):
        bounded.matching(pattern, ["a" * 99 + "."], "adapter_config.json", "target_modules")


def test_names_that_a_pattern_matches() -> None:
    assert bounded.matching(r"(.*\.)?q_proj|v", ["q_proj", "a.q_proj", "k_proj", "v", "vv"], "x") == [
        "q_proj",
        "a.q_proj",
        "v",
    ]
    with pytest.raises(InputError, match="x: not a pattern"):
        bounded.matching("(", ["a"], "x")
