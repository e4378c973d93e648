"""Pictures of a request: data URLs, decoded within limits before anything sees them.

Every picture is opened once here, so that a broken one, or one that holds more pixels than allowed, is found before it
is paid for. What guards and the model see are the same bytes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from PIL import Image

from ..errors import InputError
from ..image_bytes import plain
from ..images import FORMATS, decode_image
from ..records import Picture
from .errors import GatewayError, refused
from .fetch import fetched
from .policy import Policy

FIELD = "messages.content.image_url.url"
UNREADABLE = "invalid_image"


class Intake:
    """Opens what requests show. Its threads are few: pictures wait for each other rather than for memory."""

    def __init__(self, policy: Policy, threads: int = 2) -> None:
        self.policy = policy
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="intake")

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    async def picture(self, address: str) -> Picture:
        """The picture of a data URL, or at an address that the policy allows. Raises GatewayError."""
        limits = self.policy.limits
        head, comma, body = address.partition(",")
        if head[:5].lower() != "data:":
            data = await fetched(address, self.policy.fetch, limits.picture_bytes)
        elif not comma or not head.lower().endswith(";base64") or len(head) > 100:
            raise refused("a data URL is written data:image/TYPE;base64,DATA", FIELD, UNREADABLE)
        elif len(body) > limits.picture_bytes * 4 // 3 + 4:
            raise GatewayError(413, "image_too_large", f"more than {limits.picture_bytes:,} bytes", param=FIELD)
        else:
            try:
                data = base64.b64decode(body, validate=True)
            except (binascii.Error, ValueError):
                raise refused("the data URL holds no base64", FIELD, UNREADABLE) from None
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, partial(check, data, limits.pixels))
        except InputError as fault:
            raise refused(f"the picture cannot be read: {fault.problem}", FIELD, UNREADABLE) from None
        name = hashlib.sha256(data).hexdigest()[:16]
        return Picture(name, partial(decode_image, data), lambda: data)


def check(data: bytes, pixels: int) -> None:
    """Decode a picture once. Raises InputError for what is none, and for more pixels than allowed, undecoded."""
    form = plain(data)
    if form is not None:
        width, height = form.size
    else:
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                width, height = opened.size
        except Exception:  # noqa: BLE001  (decoders raise nearly anything; what it is, is said below)
            width = height = 0
    if width * height > pixels:
        raise InputError(f"{width * height:,} pixels are more than the limit of {pixels:,}")
    decode_image(data)
