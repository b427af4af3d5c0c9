from pathlib import Path

import pytest
from tiny_scans import write_unlabelled


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """Of a data set that training without labels can learn from."""
    return write_unlabelled(tmp_path_factory.mktemp("data"))
