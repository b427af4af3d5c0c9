"""docs/results.md holds what the reports hold."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_results_is_written_from_the_reports():
    spec = importlib.util.spec_from_file_location("write_results", ROOT / "scripts" / "write_results.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (ROOT / "docs" / "results.md").read_text() == script.results(ROOT / "docs" / "reports")
