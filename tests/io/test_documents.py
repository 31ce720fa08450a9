"""What is read from disk is what its type says, or a fault that is told."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from brainseg.errors import DataError
from brainseg.io import documents


@dataclass(frozen=True)
class Page:
    number: int
    share: float | None = None
    words: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "page.json"


def test_what_fits_is_read_and_unknown_keys_do_no_harm(path: Path) -> None:
    path.write_text('{"number": 3, "share": 1, "later": true}')
    assert documents.read(path, Page) == Page(3, 1.0)
    assert documents.read_checked(path, Page) == {"number": 3, "share": 1, "later": True}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"[]", b"3", b'"text"', b"{}", b'{"number": "3"}', b'{"number": 1.5}',
        b'{"number": 3, "share": NaN}', b'{"number": 3, "share": 1e999}', b'{"number": true}',
        b'{"number": 3, "words": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        # From Python 3.14 on the stack bounds the depth, not a number: 5,000 are read there.
        b'{"number": 3, "words": {"a": ' + b'{"a": ' * 100_000 + b"1" + b"}" * 100_001 + b"}",
        b'{"number": ' + b"9" * 5000 + b"}", b'{"number": 3', b"\xff\xfe{}", b'{"number": 3}}',
        b'{"number": 3, "words": "\xed\xa0\x80"}', b"\x00" * 100,
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_one_line(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"page\.json: ") as caught:
        documents.read(path, Page)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "large"])
def test_what_is_no_document_is_not_waited_for(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as stream:
            stream.truncate(documents.MOST_BYTES + 1)
    with pytest.raises(DataError, match=re.escape("page.json: ")):
        documents.read(path, Page)


def test_what_is_absent_is_an_error_of_the_system(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        documents.read(path, Page)
