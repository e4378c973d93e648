"""What every judge is: something that turns stored responses into verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ..errors import InputError
from ..records import Picture, Response, Sample, Verdict
from ..thoughts import CUT_OFF, NO_THOUGHT


class Judged(NamedTuple):
    """A response to judge, what it answers, and the sample's pictures, still closed, for judges that look at them."""

    sample: Sample
    response: Response
    pictures: tuple[Picture, ...] = ()


@runtime_checkable
class Judge(Protocol):
    """An opinion on responses. `name` is the spec it was made from; `version` changes whenever its verdicts can.

    A judge that does not judge every safety pair, or that judges something else, also has `applies(sample) -> bool`;
    one that comes from a file may have `remarks(samples)`, what is odd about that file beside a benchmark's samples;
    one whose verdicts cost nothing to give again has `quick`, True: they are written down several at a time.
    """

    name: str
    version: str

    def judge(self, items: Iterable[Judged]) -> Iterator[Verdict]:
        """One verdict an item, in any order; what cannot be judged is an invalid verdict with its reason."""
        ...


def without_option(judge: Judge, option: str | None) -> Judge:
    """The judge. Raises InputError when its spec gives it an option, as it takes none."""
    if option is not None:
        raise InputError(f"{judge.name} takes no option, but was given {option!r}")
    return judge


def applies(judge: Judge, sample: Sample) -> bool:
    """Whether a judge has something to say about a sample: its own `applies`, or else every safety pair."""
    declared = getattr(judge, "applies", None)
    return bool(declared(sample)) if declared is not None else not sample.has_answer_key


def unjudgeable(response: Response) -> str | None:
    """Why the response's thought cannot be judged, if so. One that is cut off has no answer behind it."""
    if not (response.reasoning or "").strip():
        return NO_THOUGHT
    return CUT_OFF if response.finish == "truncated" and not response.text.strip() else None


CALL_FAILED = "error: "
"""How the reason of an invalid verdict begins when the judge could not be asked, rather than said nothing usable."""


class Opined(Protocol):
    """A verdict, or what an index of verdicts holds of it."""

    @property
    def invalid(self) -> str | None: ...


def call_failed(verdict: Opined) -> bool:
    """Whether the judge's own call failed: such a verdict counts as invalid, and is asked for again on resume."""
    return (verdict.invalid or "").startswith(CALL_FAILED)


def verdict(judge: Judge, response: Response, label: str | None, invalid: str | None = None, **more: Any) -> Verdict:
    """What a judge says of one response: a label, or no label and the reason why the verdict is invalid."""
    return Verdict(
        sample_id=response.sample_id,
        repeat=response.repeat,
        response_hash=response.hash,
        judge=judge.name,
        judge_version=judge.version,
        label=label,
        invalid=invalid,
        **more,
    )
