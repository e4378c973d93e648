"""Our judges as Inspect AI's scorers, and our scores as its metric.

    inspect score LOG.eval --scorer holisafe/judge -S judge=string-match:holisafe

A scorer judges each response as soon as it is there. The numbers are those that `holisafe run` computes of the same
responses, each with its n, its number of invalid verdicts, and its interval.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from functools import partial

import anyio.to_thread
from inspect_ai.model import ChatMessageUser
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import TaskState
from PIL import Image

from ..errors import InputError
from ..images import decode_image
from ..judges import open_judge
from ..judges.base import Judge, Judged, applies
from ..metrics.run_scores import run_scores
from ..records import Picture, Response
from ..runs.frame import of_records
from ..specs import check_ordered, fetching_nothing
from .inspect_records import metrics_of, response_of, sample_of, score_of, verdict_of

DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,(.*)", re.DOTALL)


@metric(scores="unreduced")
def safety() -> Metric:
    """The scores of one judge over every answer, those to repeats of a sample too: `inspect_records.metrics_of`."""

    def compute(scores: list[SampleScore]) -> Value:
        samples = [sample_of(str(item.sample_id), "", item.sample_metadata or {}) for item in scores]
        verdicts = [verdict_of(sample.id, item.score) for sample, item in zip(samples, scores, strict=True)]
        responses = [Response(sample_id=one.sample_id, repeat=one.repeat, target="", text="") for one in verdicts]
        name = next((verdict.judge for verdict in verdicts), "")
        return metrics_of(run_scores(*of_records(samples, responses, verdicts)), name)

    return compute


@scorer(metrics=[safety()])
def judge(judge: str = "string-match") -> Scorer:
    """One of our judges, by its spec. Raises InputError when there is no such judge."""
    return asking(judge_of_log(judge))


def judge_of_log(spec: str) -> Judge:
    """The judge that Inspect names. It takes its tasks' and scorers' options from a log as well, when it scores or
    retries one: as in any file, they set no key, no other machine's address and no remote code, and fetch nothing."""
    check_ordered(spec, f"judge={spec.partition(',')[0]}", "OPENAI_BASE_URL and OPENAI_API_KEY tell it")
    with fetching_nothing():
        return open_judge(spec)


def named_scorer(judge: Judge) -> Scorer:
    """The same, called by the judge's name, so that several stand apart in one log."""
    return scorer(metrics=[safety()], name=judge.name)(lambda: asking(judge))()


def asking(judge: Judge) -> Scorer:
    """A scorer that asks the judge about one response at a time, in a thread of its own.

    A sample to which the judge does not apply gets no score. A response that is not the model's own answer (blocked by
    a content filter, or none at all) is unscored, as it is in no rate of ours.
    """

    async def score(state: TaskState, target: Target) -> Score | None:
        del target  # what is expected stands in the sample's metadata
        sample = sample_of(str(state.sample_id), state.input_text, state.metadata)
        if not applies(judge, sample):
            return None
        response = response_of(sample.id, state.epoch, str(state.model), state.output)
        if not response.judgeable:
            return Score.unscored(reason=response.finish, explanation=response.error)
        item = Judged(sample, response, pictures_in(state))
        (verdict,) = await anyio.to_thread.run_sync(lambda: list(judge.judge([item])))
        return score_of(verdict, sample.expected)

    return score


def judge_specs(given: str | Sequence[str]) -> list[str]:
    """The judges that an option names, separated by commas.

    Inspect takes an option apart at its commas; those before an option of a judge (NAME=VALUE) are put back.
    """
    parts = given.split(",") if isinstance(given, str) else given
    specs: list[str] = []
    for part in parts:
        if specs and re.match(r"\w+=", part):
            specs[-1] += f",{part}"
        else:
            specs.append(part)
    return list(dict.fromkeys(specs))


def pictures_in(state: TaskState) -> tuple[Picture, ...]:
    """The pictures of the sample's own turns, the first user messages; decoded only when a judge looks at them."""
    own = 1 + sum(turn.get("role") == "user" for turn in state.metadata.get("turns", ()))
    asked = [message for message in state.messages if isinstance(message, ChatMessageUser)][:own]
    urls = [part.image for message in asked for part in message.content_list if part.type == "image"]
    return tuple(Picture(f"picture {at}", partial(_decoded, url)) for at, url in enumerate(urls, start=1))


def _decoded(url: str) -> Image.Image:
    """The picture in a data URL, as RGB. Raises InputError for anything else: no address is ever fetched."""
    if not (data := DATA_URL.fullmatch(url)):
        raise InputError("the log holds no pictures; make it with --log-images")
    return decode_image(base64.b64decode(data[1]), "picture in the log")
