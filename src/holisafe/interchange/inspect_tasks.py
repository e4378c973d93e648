"""Our benchmarks as Inspect AI's tasks.

    inspect eval holisafe/pictosafe --model openai/MODEL -T judge=string-match,string-match:holisafe

Inspect asks the model; our judges score (`inspect_scoring`). Samples come in the order of `holisafe run`, so that
`--limit N` takes the same stratified part. A picture is encoded when its sample is asked, not before.
"""

from __future__ import annotations

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as InspectSample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
)
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver

from ..benchmarks import open_tested
from ..benchmarks.base import Benchmark, stratified
from ..clients.pictures import SHARED, Encoding
from ..records import GenerationSettings, Sample
from ..specs import fetching_nothing
from .inspect_records import metadata_of
from .inspect_scoring import judge, judge_of_log, judge_specs, named_scorer

__all__ = ["benchmark", "holisafe_bench", "judge", "pictosafe", "pictosafe_utility", "vscbench_image", "vscbench_text"]

Judges = str | list[str]
"""Judges as `holisafe run --judge` takes them: one, several after commas, or a list."""


@task
def benchmark(
    name: str, judge: Judges = "string-match", root: str | None = None, split: str | None = None, seed: int = 0
) -> Task:
    """Any benchmark of `holisafe data list`, by its name. Raises InputError as `open_tested` and `open_judge` do.

    Args:
        name: the benchmark.
        judge: who scores.
        root: the folder of the benchmark's release, or `hub:` where this machine holds it; none for an embedded one.
        split: which split; `test` where there is one, else everything.
        seed: orders the samples, and draws where decoding does.
    """
    with fetching_nothing():  # the options may be a log's, when Inspect retries it
        opened = open_tested(name, root, split)
    samples = [
        InspectSample(
            id=sample.id,
            input=_asked(sample),
            target=str(sample.reference) if sample.has_answer_key else sample.expected,
            metadata=metadata_of(sample),
        )
        for sample in stratified(opened.samples, None, seed)
    ]
    settings = GenerationSettings(seed=seed)
    judges = [judge_of_log(spec) for spec in judge_specs(judge)]
    return Task(
        dataset=MemoryDataset(samples, name=opened.name, location=root),
        setup=showing_pictures(opened),
        solver=generate(),
        scorer=[named_scorer(judge) for judge in judges],
        config=GenerateConfig(max_tokens=settings.max_new_tokens, temperature=settings.temperature, seed=settings.seed),
    )


@task
def holisafe_bench(root: str, judge: Judges = "string-match", split: str | None = None, seed: int = 0) -> Task:
    """HoliSafe-Bench, from the folder of its release."""
    return benchmark("holisafe-bench", judge, root, split, seed)


@task
def vscbench_image(root: str, judge: Judges = "string-match", split: str | None = None, seed: int = 0) -> Task:
    """VSCBench, image-centric, from the folder of its release."""
    return benchmark("vscbench-image", judge, root, split, seed)


@task
def vscbench_text(root: str, judge: Judges = "string-match", split: str | None = None, seed: int = 0) -> Task:
    """VSCBench, text-centric, from the folder of its release."""
    return benchmark("vscbench-text", judge, root, split, seed)


@task
def pictosafe(judge: Judges = "string-match", split: str | None = None, seed: int = 0) -> Task:
    """PictoSafe, which is embedded."""
    return benchmark("pictosafe", judge, None, split, seed)


@task
def pictosafe_utility(judge: Judges = "exact-match", split: str | None = None, seed: int = 0) -> Task:
    """PictoSafe's harmless questions with one right answer."""
    return benchmark("pictosafe-utility", judge, None, split, seed)


def _asked(sample: Sample) -> str | list[ChatMessage]:
    """The query, or the conversation that ends in it."""
    if not sample.turns:
        return sample.query
    kinds: dict[str, type[ChatMessageUser] | type[ChatMessageAssistant]]
    kinds = {"user": ChatMessageUser, "assistant": ChatMessageAssistant}
    return [*(kinds[turn.role](content=turn.text) for turn in sample.turns), ChatMessageUser(content=sample.query)]


@solver
def showing_pictures(opened: Benchmark) -> Solver:
    """Puts a sample's pictures before its query, as data URLs; in a task's setup, so that any solver comes after it."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        del generate  # the task's solver asks
        turns = [turn.get("images", ()) for turn in state.metadata.get("turns", ())]
        names_of = [*turns, state.metadata.get("images", ())]
        for message, names in zip(state.messages[-len(names_of) :], names_of, strict=False):
            urls = [await SHARED.url(opened.picture(name), Encoding()) for name in names]
            shown = [ContentImage(image=url.decode()) for url in urls]
            if shown:
                message.content = [*shown, *([ContentText(text=message.text)] if message.text else [])]
        return state

    return solve
