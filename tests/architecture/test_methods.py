"""docs/methods.md names functions and tests that there are."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parents[2]
[TABLE, *_] = re.findall(r"(?:^\|.*\n)+", (ROOT / "docs" / "methods.md").read_text(), re.MULTILINE)
"""The first; the others compare."""
ROWS = [line.split("|")[1:-1] for line in TABLE.splitlines()[2:]]


def test_the_table_is_found():
    assert len(ROWS) > 50


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip())
def test_functions_and_tests_exist(row):
    functions, tests = (re.findall(r"`([^`]+)`", cell) for cell in row[2:])
    assert functions
    assert tests
    files = [name for name in functions + tests if "/" in name]
    assert [name for name in files if not (ROOT / name).exists()] == []
    home = ""  # of names that stand after another of the same module
    for name in functions:
        if name not in files:
            whole = name if "." in name else f"{home}.{name}"
            resolve_name(whole)
            home = whole.rpartition(".")[0]
