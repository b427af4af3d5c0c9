"""Products through oneDNN are products."""

import pytest
import torch

from pointcloud.sparse import products
from pointcloud.sparse.products import ROWS, add_product_of_transposed, product


@pytest.mark.parametrize("m", [0, 1, 100, 4 * ROWS, 4 * ROWS + 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("onednn", [True, False])
def test_products_are_those_of_mm(m, dtype, onednn, monkeypatch):
    monkeypatch.setattr(products, "onednn_is_faster", lambda: onednn)
    generator = torch.Generator().manual_seed(0)
    rows, others, weight = (
        torch.randn(n, c, generator=generator).to(dtype) for n, c in ((m, 5), (m, 7), (5, 7))
    )
    out = torch.empty(m, 7, dtype=dtype)
    assert product(rows, weight, out) is out
    torch.testing.assert_close(out, (rows.double() @ weight.double()).to(dtype))
    total = torch.ones(5, 7, dtype=torch.promote_types(dtype, torch.float32))
    add_product_of_transposed(rows, others, total)
    expected = 1 + rows.double().T @ others.double()
    torch.testing.assert_close(total, expected.to(total.dtype), atol=1e-3, rtol=2e-2)


def test_a_part_of_a_buffer_may_be_multiplied_into_a_part_of_another(monkeypatch):
    monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
    calls = []
    monkeypatch.setattr(
        products.functional,
        "conv2d",
        lambda x, w, real=torch.nn.functional.conv2d: calls.append(1) or real(x, w),
    )
    buffer, weight, made = torch.randn(9 * ROWS, 6), torch.randn(6, 4), torch.zeros(9 * ROWS, 4)
    here = slice(ROWS, 6 * ROWS + 7)
    product(buffer[here], weight, made[here])
    torch.testing.assert_close(made[here], buffer[here] @ weight)
    assert made[: here.start].abs().sum() + made[here.stop :].abs().sum() == 0
    assert calls


@pytest.mark.parametrize(
    ("of_mm", "of_onednn", "faster"), [(3.0, 1.0, True), (1.1, 1.0, False), (1.0, 2.0, False)]
)
def test_onednn_multiplies_only_where_it_is_clearly_faster(of_mm, of_onednn, faster, monkeypatch):
    slow = {"by_mm": of_mm, "by_onednn": of_onednn}

    def seconds(work):
        work()  # both can be timed at all
        return slow[work.__name__]

    monkeypatch.setattr(products, "_seconds", seconds)
    assert products.onednn_is_faster.__wrapped__() is faster
