"""docs/results.md and the tables of README.md hold what the reports hold."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS, REPORTS = ROOT / "scripts", ROOT / "docs" / "reports"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))  # they import each other
    return runpy.run_path(str(SCRIPTS / "write_results.py"))


def test_the_page_of_results_is_written_from_the_reports(script):
    assert (ROOT / "docs" / "results.md").read_text() == script["results"](REPORTS)


def test_the_tables_of_the_readme_are_written_from_the_reports(script):
    readme = (ROOT / "README.md").read_text()
    assert script["with_tables"](readme, REPORTS) == readme


def test_a_table_has_no_line_and_no_column_that_holds_nothing(script, tmp_path):
    (tmp_path / "clip2scene.json").write_text(
        '{"metrics": {"street: CLIP2Scene": {"miou_shown": 0.51239, "runs": 3}}}'
    )
    written = script["with_tables"]("a\n<!-- measured -->\nold\n<!-- /measured -->\nb", tmp_path)
    *before, head, rule, line, empty, mark, after = written.split("\n")
    assert before == ["a", "<!-- measured -->", ""]
    assert head.count("|") == rule.count("|") == 3
    assert line == "| CLIP2Scene | 0.512 (3) |"
    assert (empty, mark, after) == ("", "<!-- /measured -->", "b")
