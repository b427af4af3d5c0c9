"""The command line of a training, for scripts that train as a user does."""

import sys
from collections.abc import Mapping
from pathlib import Path


def ns_train(method: str, options: Mapping[str, object]) -> list[str]:
    """``ns-train`` of this environment, with a flag and a value for each option."""
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return [str(Path(sys.executable).with_name("ns-train")), method, *flags]
