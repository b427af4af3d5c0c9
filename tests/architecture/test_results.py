"""docs/results.md and the tables of README.md hold what the reports hold."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from readme_table import with_tables  # noqa: E402
from write_results import results  # noqa: E402

REPORTS = ROOT / "docs" / "reports"


def test_the_page_of_results_is_written_from_the_reports():
    assert (ROOT / "docs" / "results.md").read_text() == results(REPORTS)


def test_the_tables_of_the_readme_are_written_from_the_reports():
    readme = (ROOT / "README.md").read_text()
    assert with_tables(readme, REPORTS) == readme


def test_a_table_has_no_line_and_no_column_that_holds_nothing(tmp_path):
    (tmp_path / "clip2scene.json").write_text(
        '{"metrics": {"street: CLIP2Scene": {"miou_shown": 0.51239, "runs": 3}}}'
    )
    written = with_tables("a\n<!-- measured -->\nold\n<!-- /measured -->\nb", tmp_path)
    *before, head, rule, line, empty, mark, after = written.split("\n")
    assert before == ["a", "<!-- measured -->", ""]
    assert head.count("|") == rule.count("|") == 3
    assert line == "| CLIP2Scene | 0.512 (3) |"
    assert (empty, mark, after) == ("", "<!-- /measured -->", "b")
