"""What the bytes are that somebody took for a picture, in words that tell what to do about it."""

from __future__ import annotations

import re

KINDS: tuple[tuple[str, str], ...] = (
    (r"\Z", "the file is empty"),
    (r"version https://git-lfs", "a Git LFS pointer, not the picture itself (git lfs pull fetches it)"),
    (r"[./]*[\w./-]{0,99}annex/objects/", "a git-annex pointer, not the picture itself (git annex get fetches it)"),
    (r"\s*(?=<).*?<(!doctype html|html|head|body)\b", "a web page, such as a failed download leaves"),
    (r"\s*(?=<).*?<(svg:)?svg\b", "an SVG drawing, which has no pixels"),
    (r"\s*<\?xml", "XML, such as a storage service answers instead of a file"),
    (r'\s*(\{\s*["}]|\[\s*[\[{"\]\d])', "JSON, such as a service answers instead of a file"),
    (r"\s*data:image/", "the text of a data: URL"),
    (r"\s*https?://\S+\s*\Z", "the text of a URL, which is never fetched"),
    (r"\s*%PDF", "a PDF document"),
    (r"%!PS|\xc5\xd0\xd3\xc6", "a PostScript program"),
    (r"PK(\x03\x04|\x05\x06)", "a zip archive, or a document that is one"),
    (r"\x1f\x8b", "a gzip archive"),
    (r"Rar!|7z\xbc\xaf|\xfd7zXZ|BZh\d|\x28\xb5\x2f\xfd|.{257}ustar", "an archive"),
    (r".{4}ftyp(avif|avis)", "an AVIF picture that this installation of Pillow does not read"),
    (r".{4}ftyp(qt  |isom|iso\d|mp4\d|M4[AV] |3gp|avc1|dash)", "a video"),
    (r"\x1aE\xdf\xa3|RIFF.{4}AVI |FLV\x01|\0\0\x01\xba", "a video"),
    (r"ID3|OggS|fLaC|RIFF.{4}WAVE", "a sound file"),
    (r"8BPS", "a Photoshop file"),
    (r"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture, which is not read"),
    (r"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", "a JPEG 2000 picture, which is not read"),
    (r"\0\0\x01\0", "an icon file, which is not read"),
    (r"P[1-6]\s", "a portable bitmap (PBM, PGM, PPM), which is not read"),
    (r"\x93NUMPY", "a NumPy array"),
    (r"PAR1", "a parquet file"),
    (r"\0+\Z", "nothing but zeros, such as a broken copy leaves"),
    (r"\x89PNG|\xff\xd8\xff|RIFF.{4}WEBP|GIF8|BM|II\*\0|MM\0\*", "broken at its beginning"),
    (r"\.{1,2}/[^\n\r]+\Z", "a link written as text, as git leaves it where there are none (core.symlinks)"),
    (r"[\t\n\r\x20-\x7e]+\Z", "plain text"),
)
"""How the first bytes look -> what they are; the first that fits."""

HEIC = re.compile(rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)
"""High efficiency pictures (ISO/IEC 23008-12), as phones take them."""

_KNOWN = [(re.compile(look.encode("latin-1"), re.DOTALL | re.IGNORECASE), name) for look, name in KINDS]


def kind_of(data: bytes) -> str | None:
    """What a file is, by its first bytes; None when they are nothing known."""
    return next((name for look, name in _KNOWN if look.match(data[:1024])), None)
