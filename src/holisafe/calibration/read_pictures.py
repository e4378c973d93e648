"""What is written in a picture, by an OCR reader on this machine: rapidocr (extra `ocr`), or tesseract where it is."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL.Image import Image

from ..errors import InputError

Reader = Callable[[Image], str]
SECONDS = 60
"""How long tesseract may take over one picture."""


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
