"""How close a rendered picture is to the photo."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional import peak_signal_noise_ratio, structural_similarity_index_measure


def picture_quality(
    rendered: Float[Tensor, "h w 3"], photo: Float[Tensor, "h w 3"], mask: Bool[Tensor, "h w 1"] | None = None
) -> dict[str, float]:
    """PSNR in dB and SSIM of pictures in 0..1.

    Args:
        mask: false where the photo shows what is not of the scene. Such pixels count in neither figure.
    """
    if mask is None:
        mask = torch.ones_like(photo[..., :1], dtype=torch.bool)
    mask = mask.to(rendered.device)
    kept = mask[..., 0]
    psnr = peak_signal_noise_ratio(rendered[kept], photo[kept], data_range=1.0)
    ours, theirs = (picture.permute(2, 0, 1)[None] for picture in (torch.where(mask, rendered, photo), photo))
    _, ssim = structural_similarity_index_measure(ours, theirs, data_range=1.0, return_full_image=True)
    return {"psnr": float(psnr), "ssim": float(ssim[0].mean(0)[kept].mean())}
