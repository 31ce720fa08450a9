"""The files of a scan change together, whatever fails or dies in the middle."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from brainseg.errors import CannotCreateError, OutputError
from brainseg.io import atomic, staging

OLD = {"head_record.json": b"old record", "head_six.nii": b"old six", "head_mask.nii": b"old mask"}
NEW = {"head_three.nii": b"new three", "head_mask.nii": b"new mask", "head_record.json": b"new"}
# Three old files move away, their folder is renamed by another call, three new ones move in.
MOVES = len(OLD) + len(NEW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "anat"
    folder.mkdir()
    for name, content in (OLD | {"other_six.nii": b"of another scan"}).items():
        (folder / name).write_bytes(content)
    return folder


def exchange(folder: Path) -> None:
    files = {name: content.__bytes__ for name, content in NEW.items()}
    staging.exchange(folder / "head_record.json", "head", files, OLD, threads=2)


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("head_*")}


def hidden(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


def test_the_new_files_stand_in_the_place_of_all_old_ones(folder: Path) -> None:
    exchange(folder)
    assert content(folder) == NEW
    assert (folder / "other_six.nii").exists()
    assert not hidden(folder)


@pytest.mark.parametrize("code", [errno.EIO, errno.EDQUOT, errno.EACCES])
@pytest.mark.parametrize("at", range(MOVES))
def test_a_move_that_fails_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at: int, code: int
) -> None:
    replace, count = Path.replace, iter(range(1000))

    def failing(self: Path, target: Path) -> Path:
        if next(count) == at:
            raise OSError(code, "as asked")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises((OutputError, CannotCreateError), match="as asked"):
        exchange(folder)
    assert content(folder) == OLD
    assert not hidden(folder)


def test_where_moving_back_fails_too_it_says_what_is_there_and_the_next_run_mends_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, count = Path.replace, iter(range(1000))

    def failing(self: Path, target: Path) -> Path:
        if next(count) >= 4:
            raise OSError(errno.EIO, "as asked")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OutputError, match=r"so did moving files back.*puts it in order"):
        exchange(folder)
    assert "head_record.json" not in content(folder)
    monkeypatch.undo()
    staging.recover(folder / "head_record.json", "head")
    assert content(folder) == NEW
    assert not hidden(folder)


def test_an_encoder_that_fails_changes_nothing(folder: Path) -> None:
    def fails() -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="nothing was changed"):
        staging.exchange(folder / "head_record.json", "head", {"head_new.nii": fails}, OLD)
    assert content(folder) == OLD
    assert not hidden(folder)


def test_a_folder_in_the_place_of_a_file_is_told_before_anything_moves(folder: Path) -> None:
    (folder / "head_three.nii").mkdir()
    with pytest.raises(CannotCreateError, match=r"head_three\.nii: a folder stands"):
        exchange(folder)
    assert (folder / "head_record.json").read_bytes() == b"old record"
    assert not hidden(folder)


DIES = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_staging import exchange
moves, at = {"n": 0}, int(sys.argv[2])
for name in ("replace", "rename"):
    def dying(self, target, original=getattr(Path, name)):
        if moves["n"] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        moves["n"] += 1
        return original(self, target)
    setattr(Path, name, dying)
exchange(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("at", range(MOVES + 1))
def test_sigkill_leaves_no_old_record_beside_new_files(folder: Path, at: int) -> None:
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", DIES, folder, str(at), here], check=False)
    assert done.returncode == -9
    left = content(folder)
    if "head_record.json" in left:
        assert left in (OLD, NEW)
    staging.recover(folder / "head_record.json", "head")
    assert content(folder) in (OLD, NEW)
    assert (folder / "other_six.nii").exists()
    assert not hidden(folder)


def test_no_two_scratch_names_are_equal(tmp_path: Path) -> None:
    """Two containers have the same host name and process number 1."""
    names = {atomic.scratch_path(tmp_path / "sub-01") for _ in range(100)}
    assert len(names) == 100


@pytest.mark.parametrize("code", atomic.NO_SYNC)
def test_a_file_system_that_cannot_flush_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(code, "not here")

    monkeypatch.setattr("os.fsync", refuse)
    atomic.write_text(tmp_path / "x.json", "text")
    assert (tmp_path / "x.json").read_text() == "text"


def test_a_disk_that_fails_to_flush_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OutputError):
        atomic.write_text(tmp_path / "x.json", "text")
    assert list(tmp_path.iterdir()) == []
