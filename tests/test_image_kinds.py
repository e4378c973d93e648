"""What is no picture is called what it is."""

from __future__ import annotations

import io
import zipfile

import pytest
from PIL import Image

from holisafe.errors import InputError
from holisafe.image_kinds import kind_of
from holisafe.images import decode_image


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "a")
    return buffer.getvalue()


CASES = {
    "the file is empty": [b""],
    "a git-annex pointer": [b"/annex/objects/MD5E-s1--0.png\n", b"../.git/annex/objects/aa/bb/MD5E-s1--0/MD5E-s1--0"],
    "a Git LFS pointer": [b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"],
    "a web page": [
        b"<!DOCTYPE html><html>404</html>",
        b"\n  <html lang=en>",
        b"<!-- x --><HTML>",
        b"<!doctype html><body><svg/>",
    ],
    "an SVG drawing": [
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"<?xml version='1.0'?>\n<!-- made by hand -->\n<!DOCTYPE svg PUBLIC 'x'>\n<svg>",
    ],
    "XML": [b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"],
    "JSON": [b'{"error": "not found"}', b'[{"a": 1}]', b"{}", b' {\n "error": 1}'],
    "a PDF document": [b"%PDF-1.7\n"],
    "a PostScript program": [b"%!PS-Adobe-3.0 EPSF-3.0\n"],
    "a zip archive": [zipped()],
    "a gzip archive": [b"\x1f\x8b\x08\0"],
    "an archive": [b"7z\xbc\xaf\x27\x1c", bytes(257) + b"ustar\0"],
    "a video": [b"\0\0\0\x20ftypisom\0\0\2\0", b"\x1aE\xdf\xa3\x01", b"RIFF\0\0\0\0AVI LIST"],
    "a URL": [b"https://example.org/a.png\n"],
    "a data: URL": [b"data:image/png;base64,iVBORw0KGgo="],
    "plain text": [b"404: Not Found", b"../a.png\n\nis the picture"],
    "a link written as text": [b"../blobs/a.png", b"./a.png"],
    "nothing but zeros": [bytes(100)],
    "broken at its beginning": [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\0"],
}


@pytest.mark.parametrize("words", CASES)
def test_the_message_says_what_the_file_is(words: str) -> None:
    for data in CASES[words]:
        assert words in str(kind_of(data)), data
        with pytest.raises(InputError, match="not an image: ") as raised:
            decode_image(data)
        assert words in raised.value.problem


def test_bytes_that_are_nothing_known_are_not_named() -> None:
    assert kind_of(b"\xfe\x01\x02\x03" * 10) is None
    with pytest.raises(InputError, match=r"^not an image$"):
        decode_image(b"\xfe\x01\x02\x03" * 10)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"])
def test_pictures_are_at_most_called_broken(kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, format=kind)
    assert any(word in str(kind_of(buffer.getvalue())) for word in ("broken at", "AVIF", "None"))


@pytest.mark.parametrize("unit", [b"<!---->", b"<!--", b"<", b" <", b"<?xml ", b"<svg-", b"{ ", b"[", b" ", b"\0"])
def test_no_beginning_takes_long(unit: bytes) -> None:
    """Each look is tried on 1 KB at most, and none may go back over it again and again: this would never end."""
    for _ in range(200):
        kind_of(unit * 1000 + b"\xff")
