"""What benchmarks measure memory with."""

import runpy
from pathlib import Path

import torch

SCRIPT = Path(__file__).parents[2] / "scripts" / "peak_memory.py"


def test_the_peak_of_tensors_counts_what_lives_at_one_time():
    peak_of_tensors = runpy.run_path(str(SCRIPT))["peak_of_tensors"]

    def work() -> None:
        first = torch.zeros(2**20)
        del first
        second, third = torch.zeros(2**21), torch.zeros(2**20)
        del third
        second.add_(1)

    assert peak_of_tensors(work) == 4 * (2**21 + 2**20)
