"""Products through oneDNN are products."""

import pytest
import torch

from pointcloud.sparse.products import ROWS, product, product_of_transposed


@pytest.mark.parametrize("m", [0, 1, 100, ROWS, 3 * ROWS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_products_are_those_of_mm(m, dtype):
    generator = torch.Generator().manual_seed(0)
    rows, others, weight = (
        torch.randn(n, c, generator=generator).to(dtype) for n, c in ((m, 5), (m, 7), (7, 5))
    )
    torch.testing.assert_close(product(rows, weight), rows @ weight.T)
    expected = (rows.double().T @ others.double()).to(dtype)
    torch.testing.assert_close(product_of_transposed(rows, others), expected, atol=1e-3, rtol=2e-2)


def test_a_part_of_a_buffer_may_be_multiplied():
    buffer = torch.randn(5 * ROWS, 6)
    weight = torch.randn(4, 6)
    torch.testing.assert_close(product(buffer[ROWS : 2 * ROWS], weight), buffer[ROWS : 2 * ROWS] @ weight.T)
