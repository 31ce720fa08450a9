"""The files of one scan change together: staged beside their places, moved there in one step.

The stage is a hidden folder beside the targets. Its inner folders say how far the step has come,
so that whoever finds it after a crash knows what to do:

- ``new`` holds the new files until all of them are written. ``old`` beside it holds the former
  files that were moved out of the way so far; they go back.
- ``placing`` is ``new`` under another name, once every former file is out of the way. What is still
  in it goes to its place.

One file, the record, stands for a whole result: of the former files it is moved first, of the new
ones last.

So an old record never lies beside a new file, and a record always stands for a whole result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from brainseg.errors import CannotCreateError, OutputError
from brainseg.io import atomic, signals

Encoder = Callable[[], bytes]
NEW, OLD, PLACING = "new", "old", "placing"


def exchange(
    record: Path,
    stem: str,
    files: Mapping[str, Encoder],
    former: Iterable[str],
    *,
    threads: int = 1,
) -> None:
    """Put files into the folder of a record in the place of former ones, all or none.

    Parameters
    ----------
    record : Path
        The file that stands for a whole result; it goes first and comes last.
    stem : str
        What the stage is called after.
    files : Mapping
        File name to a function that makes the bytes.
    former : iterable of str
        Names of files that go; those among `files` go in any case.
    threads : int

    Raises
    ------
    CannotCreateError, OutputError
        When something cannot be written or moved. The folder is then as it was before, unless the
        message says that moving back failed, too.
    """
    folder = record.parent
    with atomic.explained(folder, "nothing was changed"):
        folder.mkdir(parents=True, exist_ok=True)
        going = [n for n in sorted({*former, *files}) if _is_there(folder / n)]
        for name in going:
            if (folder / name).is_dir():
                raise CannotCreateError(
                    f"{name}: a folder stands where this file goes; move it away"
                )
        stage = atomic.scratch_path(folder / stem)
        # A signal that ends the program may interrupt the long part, the making of the files.
        with signals.waiting() as those:
            try:
                for inner in (NEW, OLD):
                    (stage / inner).mkdir(parents=True)
                with those.lifted(), ThreadPoolExecutor(threads) as pool:
                    list(pool.map(lambda n: atomic.write_bytes(stage / NEW / n, files[n]()), files))
                _move(folder, stage / OLD, going, first=record.name)
                (stage / NEW).rename(stage / PLACING)
                _move(stage / PLACING, folder, files, last=record.name)
            except BaseException as error:
                _undo(record, stage, files, error)
                raise
            atomic.remove(stage)


def recover(record: Path, stem: str) -> None:
    """Finish or undo what a process that died left half-done; call this with the lock held.

    Raises
    ------
    CannotCreateError, OutputError
    """
    folder = record.parent
    for stage in folder.glob(f".{stem}.tmp-*"):
        with atomic.explained(folder, f"{stage.name} still holds files of this scan"):
            for inner in (PLACING, OLD):
                if (stage / inner).is_dir():
                    _move(stage / inner, folder, _names(stage / inner), last=record.name)
                    break
            atomic.remove(stage)


def _undo(record: Path, stage: Path, files: Iterable[str], error: BaseException) -> None:
    """Bring the folder of the record back to what it was."""
    folder = record.parent
    try:
        if (stage / PLACING).is_dir():
            placed = [n for n in files if not _is_there(stage / PLACING / n)]
            _move(folder, stage / PLACING, placed, first=record.name)
            (stage / PLACING).rename(stage / NEW)
        if (stage / OLD).is_dir():
            _move(stage / OLD, folder, _names(stage / OLD), last=record.name)
        atomic.remove(stage)
    except OSError as again:
        raise OutputError(
            f"{folder.name}/: writing failed ({_brief(error)}), and so did moving files back "
            f"({_brief(again)}); {stage.name}/ beside them holds the rest, and the next run of "
            "this scan puts it in order"
        ) from error


def _move(
    here: Path, there: Path, names: Iterable[str], *, first: str = "", last: str = ""
) -> None:
    for name in sorted(names, key=lambda n: (n != first, n == last)):
        (here / name).replace(there / name)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _is_there(path: Path) -> bool:
    """Say whether something has this name, a link to nowhere included."""
    return path.is_symlink() or path.exists()


def _brief(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
