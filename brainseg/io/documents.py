"""JSON that people and other programs may have touched: bounded, and checked against a type.

Every JSON file that brainseg reads comes through this door. msgspec does the checking: it decodes
into the frozen dataclasses that the program uses anyway, says where a value has the wrong type, and
refuses NaN and numbers that no float holds, as JSON does.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from brainseg.errors import DataError

T = TypeVar("T")

# The largest document of ours, the record of a mixture of twelve classes, takes some 100 KB.
MOST_BYTES = 16 << 20


def read(path: Path, type_: type[T]) -> T:
    """Read a JSON file as a value of a type.

    Parameters
    ----------
    path : Path
    type_ : type
        A dataclass, a `TypedDict`, or any other type that msgspec decodes.

    Raises
    ------
    OSError
        When the file is absent or may not be read.
    DataError
        When it is no regular file, too large, no JSON, or holds something else.
    """
    return convert(path, _decoded(path), type_)


def read_checked(path: Path, type_: type[Any]) -> dict[str, Any]:
    """Read a JSON object that must fit a type, and return all of it, unknown keys included.

    Raises
    ------
    OSError, DataError
        As `read`.
    """
    content = _decoded(path)
    convert(path, content, type_)
    if not isinstance(content, dict):
        raise DataError(f"{path.name}: is no JSON object")
    return content


def convert(path: Path, content: object, type_: type[T], *, strict: bool = True) -> T:
    """Turn content of a file into a value of a type.

    Parameters
    ----------
    path : Path
        Where it came from, for the message.
    content : object
        What JSON or a table holds: mappings, lists, texts, numbers.
    type_ : type
    strict : bool
        False also takes numbers that are written as text, as in tables.

    Raises
    ------
    DataError
    """
    try:
        return msgspec.convert(content, type_, strict=strict)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise DataError(f"{path.name}: {_why(error)}") from error


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file; a pipe or a device, which might never end, is refused.

    Raises
    ------
    OSError, DataError
        As `read`.
    """
    # Without O_NONBLOCK, opening a pipe that nobody writes to waits for ever.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path.name}: is no regular file")
        if status.st_size > most:
            raise DataError(f"{path.name}: {status.st_size:,} bytes; at most {most:,} are expected")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            # Python takes memory for as much as is asked for, however small the file.
            return stream.read(status.st_size)
    finally:
        os.close(handle)


def _decoded(path: Path) -> Any:
    try:
        return msgspec.json.decode(read_bytes(path))
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise DataError(f"{path.name}: {_why(error)}") from error


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    # A name in backquotes stands for an argument in our messages; these are types.
    return " ".join(str(error).replace("`", "'").split())[:200]
