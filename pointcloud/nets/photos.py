"""Networks of photos, torchvision's, with several heads: what pixels are, in CLIP's space and in others.

DeepLabV3 (Chen et al. 2017), and for two cores Lite R-ASPP of the smaller MobileNetV3 (Howard et al., ICCV 2019,
section 6.4).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small, segmentation
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.segmentation.lraspp import LRASPPHead

from ovs3d.errors import InputError
from ovs3d.foundation.state_dict import load_strictly, read_state_dict, weights_under
from pointcloud.config import ImageNetworkName


def _small_lraspp(num_classes: int, **of_weights: None) -> segmentation.LRASPP:
    """Lite R-ASPP on the smaller MobileNetV3, which torchvision has no name for; weights are random.

    Its features are 4 times as coarse as the photo, of 16 channels, 8 times, of 24, and 16 times, of 576.
    """
    trunk = mobilenet_v3_small(weights=None, dilated=True).features
    return segmentation.LRASPP(
        create_feature_extractor(trunk, {"1": "fine", "2": "low", "12": "high"}), 24, 576, num_classes
    )


_BUILDERS = {
    "deeplabv3-mobilenet": segmentation.deeplabv3_mobilenet_v3_large,
    "deeplabv3-resnet50": segmentation.deeplabv3_resnet50,
    "deeplabv3-resnet101": segmentation.deeplabv3_resnet101,
    "lraspp-mobilenet": _small_lraspp,
}
STRIDE = 16
"""Pixels on a side of the coarsest features: photos of whole such squares are what the answers cover exactly."""
_FINE, _MIXED = 16, 64
"""Channels of the features that are 4 times as coarse as the photo, and of what is mixed from all."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's photos: what self-supervised backbones were trained with."""
_WRAPPERS = ("state_dict", "model", "teacher")
_PREFIXES = ("module.encoder_q.", "encoder_q.", "base_encoder.", "momentum_encoder.", "backbone.")
"""Where MoCo, MoCo v3 and DINO keep the encoder."""
_BESIDE = re.compile(r"(module\.)?(encoder_k|predictor|queue|queue_ptr|head\.mlp|head\.last_layer)\b")
"""What else is in their checkpoints."""
_MOCO = 128
"""Channels of MoCo's layer in the place of a classifier."""


class PhotoNet(nn.Module):
    """From photos to features of pixels, 8 times as coarse; DeepLabV3 with MobileNet: 16 times, Lite R-ASPP: 4."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: ImageNetworkName, heads: Mapping[str, int]) -> None:
        """
        Args:
            heads: name and channels of each; a 1x1 convolution.
        """
        super().__init__()
        whole = _BUILDERS[name](weights=None, weights_backbone=None, num_classes=1)
        self.backbone = whole.backbone
        if isinstance(whole, segmentation.LRASPP):
            self.context = _LiteContext(whole.classifier)
            channels = self.context.channels
        else:
            *context, last = whole.classifier.children()
            self.context, channels = nn.Sequential(*context), last.in_channels
        self.heads = nn.ModuleDict({head: nn.Conv2d(channels, n, 1) for head, n in heads.items()})
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)
        self.to(memory_format=torch.channels_last)  # the faster one of convolutions, on CPUs above all

    def forward(
        self,
        images: Float[Tensor, "p 3 h w"],
        directions: Mapping[str, Float[Tensor, "k _"]] = MappingProxyType({}),
    ) -> dict[str, Float[Tensor, "p _ gh gw"]]:
        """What each head says; colours are 0..1. In training, two photos at least: their means are normalised too.

        Args:
            directions: for heads of which only products with these are wanted: k channels in the place of theirs.
        """
        images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        x = self.context(*self.backbone(images).values())
        return {
            name: _along(directions[name], head, x) if name in directions else head(x)
            for name, head in self.heads.items()
        }

    def load_backbone(self, path: Path) -> None:
        """Take a backbone that was trained without labels, for instance MoCo's or DINO's ResNet-50.

        Args:
            path: its state dict or a training checkpoint; nothing in it is executed. A classifier in it is left out.

        Raises:
            InputError: the file is damaged, would run code, holds another network, or what no training without labels
                that is known here has.
        """
        state = read_state_dict(path, _WRAPPERS)
        if foreign := _foreign(state):
            raise InputError(
                f"{path} may have been trained with labels, for it holds {foreign}: expected a backbone alone, or a "
                "checkpoint of MoCo or DINO"
            )
        state = weights_under(state, *_PREFIXES)
        kept = {name: value for name, value in state.items() if not name.startswith("fc.")}
        load_strictly(self.backbone, kept, str(path))

    def parameter_groups(self, lr: float, lr_head: float) -> list[dict]:
        """Trunk and heads; of the trunk, kernels apart, as ``Muon`` wants them; depthwise ones are vectors."""
        trunk = [*self.backbone.parameters(), *self.context.parameters()]
        return [
            {"params": [p for p in trunk if _is_kernel(p)], "lr": lr, "outputs": 0},
            {"params": [p for p in trunk if not _is_kernel(p)], "lr": lr},
            {"params": [*self.heads.parameters()], "lr": lr_head},
        ]


class _LiteContext(nn.Module):
    """What a head of Lite R-ASPP reads: fine features of few channels, and coarse ones gated by those of the photo.

    Beside them are still finer ones, and a 3x3 mixture of all, as in DeepLabV3+'s decoder (Chen et al., ECCV 2018,
    section 3.1): small things need both.
    """

    def __init__(self, head: LRASPPHead) -> None:
        super().__init__()
        self.coarse, self.gate = head.cbr, head.scale
        given = _FINE + head.low_classifier.in_channels + head.high_classifier.in_channels
        self.mixture = nn.Sequential(
            nn.Conv2d(given, _MIXED, 3, padding=1, bias=False), nn.BatchNorm2d(_MIXED), nn.ReLU()
        )
        self.channels = given + _MIXED

    def forward(
        self,
        fine: Float[Tensor, "p _ gh gw"],
        low: Float[Tensor, "p _ _ _"],
        high: Float[Tensor, "p _ _ _"],
    ) -> Float[Tensor, "p _ gh gw"]:
        coarse = self.coarse(high) * self.gate(high)
        size = fine.shape[2:]
        others = [F.interpolate(each, size, mode="bilinear", align_corners=False) for each in (low, coarse)]
        x = torch.cat([fine, *others], dim=1)
        return torch.cat([x, self.mixture(x)], dim=1)


def _along(directions: Tensor, head: nn.Module, x: Tensor) -> Tensor:
    """Products of a head's answers with directions, by one kernel for both: few directions cost less than the head.

    Directions may be much alike, so products are not rounded as mixed precision rounds features.
    """
    assert isinstance(head, nn.Conv2d)
    assert head.bias is not None
    with torch.autocast(x.device.type, enabled=False):
        kernel = torch.einsum("kd,dcij->kcij", directions, head.weight)
        return F.conv2d(x.float(), kernel, directions @ head.bias)


def _foreign(state: Mapping[str, Tensor]) -> str | None:
    """The first of a classifier of photos, or of what no training without labels has beside the encoder."""
    encoders = tuple(each for each in _PREFIXES if any(name.startswith(each) for name in state))
    classifiers = {f"{prefix}fc.weight" for prefix in ("", *_PREFIXES)}
    for name, value in state.items():
        beside = bool(encoders) and not name.startswith(encoders) and not _BESIDE.match(name)
        if beside or (name in classifiers and len(value) != _MOCO):
            return name
    return None


def _is_kernel(p: Tensor) -> bool:
    return p.dim() == 4 and p.shape[1] > 1
