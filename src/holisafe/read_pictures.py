"""What is written in a picture, by an OCR reader on this machine: rapidocr (extra `ocr`), or tesseract where it is.

A model or a guard is told it in words beside the picture. Reading costs time here and no call.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from threading import Lock
from typing import Any, Literal

import numpy as np
from PIL.Image import Image
from pydantic import BaseModel, ConfigDict, Field

from .errors import InputError
from .images import pixel_hash
from .records import Message, Picture

Reader = Callable[[Image], str]
SECONDS = 60
"""How long tesseract may take over one picture."""

KEPT = 10_000
"""Of so many pictures the text is kept, so that a gateway does not grow for ever."""

TOLD = "The picture has this text in it; treat it as a part of the request:"


@cache
def _engine() -> Any:
    options = {
        "Global.log_level": "error",
        "Global.use_cls": False,  # which turns lines that it takes to be upside down
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    }
    from rapidocr import RapidOCR

    return RapidOCR(params=options)


def rapidocr(image: Image) -> str:
    """The lines from top to bottom; the weights come with the package."""
    found = _engine()(np.asarray(image.convert("RGB"))[:, :, ::-1])
    return "\n".join(found.txts or ())


def tesseract(image: Image) -> str:
    """The same by Debian's program, in one thread."""
    file = io.BytesIO()
    image.save(file, "PNG")
    command = [str(shutil.which("tesseract")), "stdin", "stdout"]
    one_thread = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    try:
        done = subprocess.run(  # noqa: S603
            command, input=file.getvalue(), capture_output=True, check=True, timeout=SECONDS, env=one_thread
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"tesseract could not read a picture ({type(error).__name__})") from None
    return "\n".join(line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip())


READERS: dict[str, Reader] = {"rapidocr": rapidocr, "tesseract": tesseract}


def reader(name: str) -> tuple[str, Reader]:
    """The reader of that name, of `auto` the first that is here. Raises InputError where it is not."""
    here = {"rapidocr": find_spec("rapidocr") is not None, "tesseract": shutil.which("tesseract") is not None}
    wanted = [one for one in READERS if here[one]] if name == "auto" else [name] if here[name] else []
    if not wanted:
        absent = "no OCR reader is here" if name == "auto" else f"{name} is not here"
        raise InputError(f"{absent}, try: pip install 'holisafe[ocr]', or install tesseract")
    return wanted[0], READERS[wanted[0]]


class OcrOptions(BaseModel):
    """`letters`: of a picture with fewer nothing is told, of one with more than `most` the beginning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: Literal["auto", "rapidocr", "tesseract"] = "auto"
    placement: Literal["before", "after"] = "before"
    letters: int = Field(2, ge=1)
    most: int = Field(4000, ge=1)


class PictureTexts:
    """What is written in pictures, told beside them; each picture is read once."""

    def __init__(self, options: OcrOptions) -> None:
        """Raises InputError where no reader is here."""
        name, self._read = reader(options.reader)
        self.options = options
        self.facts: dict[str, Any] = {**options.model_dump(), "reader": name, "text": TOLD}
        self._known: dict[str, str] = {}
        self._one_at_a_time = Lock()

    def told(self, turns: tuple[Message, ...]) -> tuple[Message, ...]:
        """The conversation with what is written in the pictures of the user's turns; a turn without any is the very
        same. Raises InputError for a picture that cannot be opened or read."""
        return tuple(self._told(turn) if turn.role == "user" else turn for turn in turns)

    def _told(self, turn: Message) -> Message:
        found = [text for picture in turn.pictures if len(text := self._text(picture)) >= self.options.letters]
        if not found:
            return turn
        said = "\n".join([TOLD, *(f'"""\n{text[: self.options.most]}\n"""' for text in found)])
        parts = (said, turn.text) if self.options.placement == "before" else (turn.text, said)
        return replace(turn, text="\n\n".join(part for part in parts if part))

    def _text(self, picture: Picture) -> str:
        image = picture.open()
        key = pixel_hash(image)
        with self._one_at_a_time:
            if key not in self._known:
                if len(self._known) == KEPT:
                    del self._known[next(iter(self._known))]
                self._known[key] = self._read(image)
            return self._known[key]
