"""Words of real providers for how an answer ended, and what must not be taken for a full stop."""

from __future__ import annotations

import pytest

from holisafe.finish import ending, worst

WORDS = {
    "stop": """stop STOP stop_sequence end_turn eos_token eos tool_calls function_call tool_use COMPLETE stop_string
        endoftext FinishReason.STOP FINISH_REASON_STOP done null word""",
    "truncated": """length max_tokens MAX_TOKENS model_length max_output_tokens model_context_window_exceeded
        ERROR_LIMIT token_limit max_length context_length_exceeded FINISH_REASON_MAX_TOKENS limit
        max_completion_tokens repetition""",
    "filtered": """content_filter content-filter contentFilter content_filtered SAFETY IMAGE_SAFETY RECITATION SPII
        PROHIBITED_CONTENT BLOCKLIST refusal guardrail_intervened sensitive ERROR_TOXIC FinishReason.SAFETY MODEL_ARMOR
        input_guardrail_triggered moderation_blocked content_policy_violation unsafe inappropriate_content""",
    "error": """error abort aborted cancelled canceled USER_CANCEL timeout time_limit insufficient_system_resource
        network_error MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL not_finished engine_overloaded interrupted
        out_of_memory quota_exceeded""",
}


@pytest.mark.parametrize(("finish", "word"), [(finish, word) for finish in WORDS for word in WORDS[finish].split()])
def test_a_word_that_is_known(finish: str, word: str) -> None:
    assert ending(word) == finish


def test_no_word_is_a_full_stop_and_an_unknown_one_is_not() -> None:
    assert ending(None) == ending("") == "stop"
    for word in ("OTHER", "banana", "FINISH_REASON_UNSPECIFIED", "unknown", "1", "。", "stopgap", 5, ["stop"], {}):
        assert ending(word) is None, word


def test_of_two_words_the_worse_counts_and_an_unknown_one_is_kept() -> None:
    assert worst("stop", "SAFETY") == ("filtered", "SAFETY")
    assert worst("length", "abort") == ("error", "abort")
    assert worst("stop", None) == ("stop", None)
    assert worst("stop", "banana") == ("stop", "banana")
    assert worst("length", "banana") == ("truncated", "length")
    assert worst("b" * 1000) == ("stop", "b" * 100)
