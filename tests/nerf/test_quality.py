import numpy as np
import pytest
import torch
from torchmetrics.functional import structural_similarity_index_measure

from nerf_methods.quality import picture_quality


@pytest.fixture
def photo():
    return torch.from_numpy(np.random.default_rng(0).random((40, 30, 3), dtype=np.float32))


def test_an_even_error_has_its_psnr(photo):
    quality = picture_quality(photo * 0.5 + 0.3, photo * 0.5 + 0.2)
    assert quality["psnr"] == pytest.approx(20.0, abs=1e-3)
    assert 0.5 < quality["ssim"] < 1


def test_equals_nerfstudios_ssim(photo):
    noisy = (photo + 0.2 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    theirs = structural_similarity_index_measure(
        noisy.permute(2, 0, 1)[None], photo.permute(2, 0, 1)[None], data_range=1.0
    )
    assert picture_quality(noisy, photo)["ssim"] == pytest.approx(float(theirs), abs=1e-6)


def test_masked_pixels_do_not_count(photo):
    mask = torch.ones(40, 30, 1, dtype=torch.bool)
    mask[:20] = False
    rendered = photo.clone()
    rendered[:20] = 1 - rendered[:20]
    quality = picture_quality(rendered, photo, mask)
    assert quality["psnr"] > 60
    assert quality["ssim"] == pytest.approx(1)
    assert picture_quality(rendered, photo)["ssim"] < 0.9
