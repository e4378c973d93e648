"""`hf/ID_OR_FOLDER`: any image-text-to-text model of transformers, asked in batches on this machine.

Requests are gathered in a bounded window, sorted by prompt length and decoded with left padding. Each conversation is
prepared by itself, so a bad image fails its own sample only; a batch that fails is asked again one by one, and one
that runs out of memory in halves. Decoding is greedy, or plain sampling at a temperature: the model's own generation
settings (penalties, top-p) are set aside but for its end tokens, because they would make a sample's answer depend on
its neighbours. The guard's reading comes from the same prefill.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..journal import read_json
from ..records import GenerationSettings, GuardReading, Request, Response
from ..registry import targets
from ..thoughts import Marks, is_mark, opened, own_marks, part
from .base import Capabilities, error_response
from .fingerprint import fingerprint
from .huggingface_decoding import Contrasting, Prepared, Watch, bounded, first_words, sampling, watching
from .huggingface_inside import SEES_AHEAD, Inside

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

OPTIONS = ("batch_size", "device", "dtype", "thoughts", "trust_remote_code")
DTYPES = ("float32", "bfloat16", "float16")
WINDOW = 4
"""Batches' worth of requests that are gathered and sorted by length."""


class HuggingFaceTarget(Inside):
    """A model and its processor in this process. `batch_size` is the most conversations decoded together."""

    watch: Watch | None = None

    def __init__(
        self,
        name: str,
        model: Any,
        processor: Any,
        settings: GenerationSettings,
        batch_size: int = 8,
        thoughts: Marks | None = None,
    ) -> None:
        from ..guard import is_guarded, labels_of
        from ..guard.attach import unwrap
        from ..guard.conversation import give_pad_token

        self.name, self.model, self.processor = name, model.eval(), processor
        self.inner = unwrap(model)  # without the wrapper of an adapter
        self.settings, self.batch_size, self.thoughts = settings, batch_size, thoughts
        self.labels = labels_of(model) if is_guarded(model) else None
        config = self.inner.config
        causal = not config.is_encoder_decoder and config.model_type not in SEES_AHEAD
        self.capabilities = Capabilities(guard=self.labels is not None, likelihoods=causal)
        self.contrasts: list[Contrasting] = []
        self.switch: str | None = None
        self.end_of_thought: list[int] = []
        tokenizer, generation = processor.tokenizer, self.inner.generation_config
        give_pad_token(processor)
        ends = generation.eos_token_id if generation.eos_token_id is not None else tokenizer.eos_token_id
        special = {token: str(added) for token, added in tokenizer.added_tokens_decoder.items() if added.special}
        self.unsaid = {token for token, written in special.items() if not is_mark(written)}
        self.ends: list[int] = [ends] if isinstance(ends, int) else list(ends or [])
        room = getattr(self.inner.config.get_text_config(), "max_position_embeddings", None)
        self.context: int | None = None if self.inner.config.is_encoder_decoder else room
        self.inner.generation_config = type(generation)(
            do_sample=False,
            bos_token_id=generation.bos_token_id,
            eos_token_id=self.ends or None,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=generation.decoder_start_token_id,
        )

    def takes_reasoning(self, settings: GenerationSettings) -> None:
        """Learn what the settings need: the chat template's switch, and the tokens that end a thought.

        Raises InputError where the model has none."""
        from ..guard.thinking import end_of_thought, switch_of

        self.switch = self.switch or switch_of(self.processor, self.name)
        if bounded(settings):
            self.end_of_thought = end_of_thought(self.processor, self.thoughts, self.name)

    def describe(self) -> dict[str, Any]:
        """JSON: the model with its content, and how it decodes. Batch size and device are left free to change."""
        generation = {
            "max_new_tokens": self.settings.max_new_tokens,
            "temperature": self.settings.temperature,
            "seed": self.settings.seed if self.settings.temperature > 0 else None,
            "system": self.settings.system,
            "end_tokens": self.ends,
        }
        if self.settings.reasoning is not None:
            generation |= {"reasoning": self.settings.reasoning, "reasoning_tokens": self.settings.reasoning_tokens}
        return {
            "kind": "hf",
            "model": self.name.removeprefix("hf/"),
            "class": type(self.inner).__name__,
            "dtype": str(self.inner.dtype).removeprefix("torch."),
            "generation": generation,
            "guard_labels": list(self.labels) if self.labels is not None else None,
            "fingerprint": model_fingerprint(self.name.removeprefix("hf/"), self.inner),
            **tuned_from(self.name.removeprefix("hf/")),
            **({"thoughts": list(self.thoughts)} if self.thoughts else {}),
        }

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        """Answer each request once, batch by batch, shortest prompts of a window first."""
        waiting: list[Request] = []
        async for request in requests:
            waiting.append(request)
            if len(waiting) >= WINDOW * self.batch_size:
                for response in self._window(waiting):
                    yield response
                waiting = []
        for response in self._window(waiting):
            yield response

    def _window(self, requests: Sequence[Request]) -> Iterator[Response]:
        """Prepare, sort and decode one window."""
        ready: list[Prepared] = []
        for request in requests:
            try:
                ready.append(self._prepare(request))
            except Exception as error:  # noqa: BLE001 - whatever a sample does to a processor is that sample's error
                yield self._failed(request, error)
        ready.sort(key=lambda item: (*item.kind, item.length))
        while ready:
            batch = [item for item in ready[: self.batch_size] if item.kind == ready[0].kind]
            del ready[: len(batch)]
            yield from self._answer(batch)

    def _prepare(self, request: Request) -> Prepared:
        from ..guard.conversation import encode, prompt_text

        chosen = request.settings.reasoning
        switch = {self.switch: chosen == "on"} if self.switch and chosen else {}
        prompt = prompt_text(self.processor, request.messages, **{**switch, **request.template})
        images = [picture.open() for message in request.messages for picture in message.pictures]
        ready = Prepared(request, prompt, images, encode(self.processor, [prompt], [images], side="left"))
        if self.context is not None and ready.length >= self.context:
            raise InputError(f"the prompt is {ready.length:,} tokens long; {self.name} has room for {self.context:,}")
        return ready

    def _answer(self, batch: Sequence[Prepared]) -> list[Response]:
        """Decode a batch; on failure its parts, on failure of a single conversation an error response."""
        try:
            return self._decode(batch)
        except Exception as error:  # noqa: BLE001 - models fail in their own ways; each becomes a response
            if len(batch) == 1:
                return [self._failed(batch[0].request, error)]
            parts = [[item] for item in batch]
            if out_of_memory(error):
                half = len(batch) // 2
                self.batch_size = min(self.batch_size, half)
                parts = [list(batch[:half]), list(batch[half:])]
        _free_memory()  # out here the failed batch's frames, and the tensors in them, are gone
        return [response for part in parts for response in self._answer(part)]

    def _decode(self, batch: Sequence[Prepared]) -> list[Response]:
        import torch

        started = time.perf_counter()
        contrast = self.contrasts[-1] if self.contrasts else None
        rows = [*batch, *(self._prepare(contrast.reworded(item.request)) for item in batch)] if contrast else batch
        tensors = self._batched(rows)
        settings, words = batch[0].request.settings, batch[0].request.first_words
        prompt, number = tensors["input_ids"], len(batch)
        before = 1 if self.inner.config.is_encoder_decoder else prompt.shape[1]
        with torch.inference_mode():
            made = self.model.generate(
                **tensors,
                max_new_tokens=settings.max_new_tokens + self._room(settings),
                logits_processor=self._processors(rows, contrast),
                **({"return_dict_in_generate": True, "output_logits": True} if words else {}),
                stopping_criteria=None if self.watch is None else watching(batch, before, self.watch),
            )
        sequences = made.sequences if words else made
        begun: list[dict[str, float] | None] = [None] * number
        if words:
            first = contrast(prompt, made.logits[0].float()) if contrast else made.logits[0]
            begun = [*first_words(self.processor.tokenizer, words, first[:number])]
        if torch.equal(sequences[:, : prompt.shape[1]], prompt):
            sequences = sequences[:, prompt.shape[1] :]
        elif self.inner.config.is_encoder_decoder:
            sequences = sequences[:, 1:]  # the decoder's start token
        readings = self._readings(len(rows)) if batch[0].images else [None] * number
        spent = (time.perf_counter() - started) / number
        return [
            self._response(item, row, reading, words_begun, spent)
            for item, row, reading, words_begun in zip(
                batch, sequences[:number].tolist(), readings[:number], begun, strict=True
            )
        ]

    def written(self, row: Sequence[int]) -> str:
        """The text of an answer's tokens, up to its first end token; its thoughts still within."""
        end = next((place for place, token in enumerate(row) if token in self.ends), None)
        said = row if end is None else row[:end]
        text: str = self.processor.tokenizer.decode([token for token in said if token not in self.unsaid])
        return text

    def _room(self, settings: GenerationSettings) -> int:
        """How many tokens a bounded thought may take besides those of the answer."""
        return (settings.reasoning_tokens or 0) + len(self.end_of_thought) if bounded(settings) else 0

    def _processors(self, batch: Sequence[Prepared], contrast: Contrasting | None) -> Any:
        """What is in force while a batch is decoded: contrast, sampling, the bound on thoughts; None for none."""
        from transformers import LogitsProcessorList

        from ..guard.thinking import ThoughtBudget

        settings, found = batch[0].request.settings, LogitsProcessorList([contrast] if contrast else [])
        if settings.temperature > 0:
            found.append(sampling(batch))
        if bounded(settings):
            always = self.thoughts is not None and not self.thoughts.open  # its answers begin in a thought
            begun = [always or bool(self._opened(item)) for item in batch]
            most, tokenizer = settings.reasoning_tokens or 0, self.processor.tokenizer
            found.append(ThoughtBudget(tokenizer, most, self.end_of_thought, begun, self.thoughts))
        return found or None

    def _opened(self, item: Prepared) -> str:
        """The mark with which the chat template begins a thought for the model, if it does."""
        return opened(item.prompt, self.thoughts) if getattr(self.processor, "chat_template", None) else ""

    def _batched(self, batch: Sequence[Prepared]) -> dict[str, Tensor]:
        return self._joined([item.tensors for item in batch], [(item.prompt, item.images) for item in batch])

    def _joined(
        self, rows: Sequence[dict[str, Tensor]], written: Sequence[tuple[str, list[Image]]]
    ) -> dict[str, Tensor]:
        """One batch of conversations, given encoded one by one and as text with images, padded on the left; on the
        model's device, floats in its dtype."""
        from ..guard.conversation import encode, join, placed

        tensors = join(rows, pad_token=self.processor.tokenizer.pad_token_id, side="left")
        if tensors is None:
            tensors = encode(self.processor, [text for text, _ in written], [pics for _, pics in written], side="left")
        return placed(tensors, self.inner)

    def _readings(self, count: int) -> list[GuardReading | None]:
        """The guard's probabilities from the prefill just run."""
        from ..guard.predict import reading_of

        safety = self.inner.last_safety if self.labels is not None else None
        if safety is None or self.labels is None:
            return [None] * count
        rows, valid = safety["img_safety_logits"].float().tolist(), safety["img_safety_valid"].tolist()
        return [reading_of(self.labels, row) if there else None for row, there in zip(rows, valid, strict=True)]

    def _response(
        self,
        item: Prepared,
        row: list[int],
        guard: GuardReading | None,
        begun: dict[str, float] | None,
        seconds: float,
    ) -> Response:
        """One conversation's answer, up to its first end token; without one it was cut at the limit."""
        end = next((place for place, token in enumerate(row) if token in self.ends), None)
        parted = part((self._opened(item) + self.written(row)).strip(), self.thoughts)
        tokenizer = self.processor.tokenizer
        thought = len(tokenizer(parted.reasoning, add_special_tokens=False)["input_ids"]) if parted.reasoning else None
        return Response(
            sample_id=item.request.sample_id,
            repeat=item.request.repeat,
            target=self.name,
            text=parted.text.strip(),
            finish="truncated" if end is None or parted.unfinished else "stop",
            reasoning=parted.reasoning,
            guard=guard,
            usage={
                "input_tokens": int(item.tensors["attention_mask"].sum()),
                "output_tokens": len(row) if end is None else end + 1,
                **({} if thought is None else {"reasoning_tokens": thought}),
            },
            latency_seconds=round(seconds, 4),
            first_words=begun,
        )

    def _failed(self, request: Request, error: Exception) -> Response:
        first = next(iter(str(error).strip().splitlines()), "")
        line = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {first}"
        return error_response(request, self.name, line)


@targets.register("hf", summary="a model of transformers, by hub id or local folder, run on this machine")
def load(name: str, options: dict[str, str], settings: GenerationSettings) -> HuggingFaceTarget:
    """`hf/FOLDER,dtype=bfloat16,device=cuda,batch_size=16,trust_remote_code=true`; `hf/pictovlm` is the shipped model.

    Raises InputError for an unknown option or value, or a folder that holds no usable model and processor.
    """
    for option in options:
        if option not in OPTIONS:
            raise InputError(f"hf has no option {option!r}; known: {', '.join(OPTIONS)}")
    size, dtype = options.get("batch_size", "8"), options.get("dtype")
    trust = options.get("trust_remote_code", "false").lower()
    if not size.isdecimal() or int(size) < 1:
        raise InputError(f"batch_size={size} is not a whole number above 0")
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype={dtype} is none of {', '.join(DTYPES)}")
    if trust not in ("true", "false"):
        raise InputError(f"trust_remote_code={trust} is neither true nor false")

    thoughts = own_marks(options.get("thoughts"))

    import torch

    from ..guard import load_model, load_processor
    from ..guard.quiet import quiet

    with quiet():
        processor = load_processor(name, trust_remote_code=trust == "true")
        precision = getattr(torch, dtype) if dtype is not None else None
        model = load_model(name, dtype=precision, device=options.get("device"), trust_remote_code=trust == "true")
    return HuggingFaceTarget(f"hf/{name}", model, processor, settings, int(size), thoughts)


def model_fingerprint(name: str, model: Any) -> str:
    """The content of the folder behind `name` and, for an adapter, of its base model's; a hub model's local copy."""
    from ..guard.folders import find_file, locate

    marks = []
    for source in dict.fromkeys((locate(name), str(model.name_or_path))):
        config = find_file(source, "config.json") or find_file(source, "adapter_config.json")
        marks.append(fingerprint(config.parent) if config else source)
    return "+".join(marks)


def tuned_from(name: str) -> dict[str, str]:
    """{"tuned_from": the base} of a folder that `holisafe tune` wrote."""
    from ..guard.folders import locate

    path = Path(locate(name), "tuning.json")
    record = read_json(path) if path.is_file() else None
    return {"tuned_from": str(record["base"])} if isinstance(record, dict) and "base" in record else {}


def out_of_memory(error: Exception) -> bool:
    """Whether an exception says that the device or the machine had no memory left."""
    import torch

    said = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError) or "out of memory" in said or "can't allocate" in said
    )


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
