"""How close a rendered picture is to the photo."""

from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional import peak_signal_noise_ratio, structural_similarity_index_measure


def picture_quality(rendered: Float[Tensor, "h w 3"], photo: Float[Tensor, "h w 3"]) -> dict[str, float]:
    """PSNR in dB and SSIM of pictures in 0..1."""
    ours, theirs = (picture.permute(2, 0, 1)[None] for picture in (rendered, photo))
    ssim = structural_similarity_index_measure(ours, theirs, data_range=1.0)
    assert isinstance(ssim, Tensor)
    return {"psnr": float(peak_signal_noise_ratio(ours, theirs, data_range=1.0)), "ssim": float(ssim)}
