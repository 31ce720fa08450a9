"""The methods of a result and its references, as the command line prints them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from qc_heads import head, record

from brainseg.batch import citation
from brainseg.cli.main import main
from brainseg.qc.pages import methods

NAME = "sub-01_desc-brainseg_mixture.json"


@pytest.fixture(scope="module")
def content() -> dict:
    return record(*head())


@pytest.fixture
def out(content: dict, tmp_path: Path) -> Path:
    (tmp_path / NAME).write_text(json.dumps(content))
    return tmp_path


def test_a_record_and_its_folder_give_the_text_of_the_report(
    out: Path, content: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report-methods", str(out / NAME)]) == 0
    told = capsys.readouterr().out
    assert methods.paragraph(content) in told
    assert told.startswith("# Methods\n")
    assert told.count("```") == 2
    assert main(["report-methods", str(out)]) == 0
    assert capsys.readouterr().out == told


def test_either_part_alone_is_what_a_study_has_as_files(
    out: Path, content: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / f"other_{NAME}").write_text(json.dumps(content | {"n_iter": 99}))
    markdown, bibtex = (path.read_text() for path in citation.write(out))
    assert "All scans: " in markdown
    assert main(["report-methods", str(out), "--bibtex"]) == 0
    assert capsys.readouterr().out == bibtex
    assert bibtex.startswith("@software{")
    assert main(["report-methods", str(out), "--markdown"]) == 0
    assert capsys.readouterr().out == markdown


def test_a_damaged_record_is_told_and_left_out(
    out: Path,
    content: dict,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (out / f"other_{NAME}").write_text('{"n_iter": "many"}')
    assert main(["report-methods", str(out)]) == 0
    assert methods.paragraph(content) in capsys.readouterr().out
    assert f"left out: other_{NAME}" in caplog.text


def test_what_is_no_result_is_an_error_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / NAME).write_text("{}")
    for path, code, said in (
        (tmp_path / "absent", 66, "absent: there is no such file or folder"),
        (tmp_path / "empty", 18, "empty/: no finished result"),
        (tmp_path / NAME, 65, "it is no record of brainseg"),
        (tmp_path, 65, "it is no record of brainseg"),
    ):
        assert main(["report-methods", str(path)]) == code
        told = capsys.readouterr()
        assert told.out == ""
        assert said in told.err
        assert len(told.err.splitlines()) == 1
    assert main(["report-methods", str(tmp_path), "--bibtex", "--markdown"]) == 64
