"""Settings of networks and of their training; their fields are the flags of ``ovs3d-points``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ovs3d.foundation.dense_options import DenseOptions
from ovs3d.prompts.templates import TemplateName

NetName = Literal["minkunet-small", "minkunet14a", "minkunet18a", "minkunet34a", "minkunet34c", "spvcnn"]
ImageNetworkName = Literal[
    "deeplabv3-mobilenet", "deeplabv3-resnet50", "deeplabv3-resnet101", "lraspp-mobilenet"
]
Refine = Literal["none", "hard", "soft"]
Input = Literal["one", "intensity", "intensity255", "log_intensity", "rgb", "height", "offset"]


@dataclass(frozen=True)
class Net:
    """The network and what it sees."""

    name: NetName = "minkunet-small"
    """Architecture; minkunet-small is made for two cores, the others are the published ones."""
    inputs: tuple[Input, ...] = ("one", "log_intensity", "height")
    """What each point brings: the number 1, the intensity in 0..1, in 0..255 (SLidR) or as log(0.01 + intensity), by
    which grazing returns of asphalt and grass differ, the colour in -1..1, the height in metres in the scan's frame,
    the place within its voxel in -0.5..0.5."""
    voxel_size_m: float = 0.1
    """Edge of a voxel."""
    voxels: Literal["cartesian", "cylindrical"] = "cartesian"
    """Shape of a voxel; cylindrical ones (SLidR) are 1 degree wide."""
    first_kernel: int = 3
    """Edge of the first kernel of a MinkUNet: 3 in SLidR and CLIP2Scene, 5 in OpenScene."""
    bn_momentum: float = 0.1
    """Momentum of batch normalisation: 0.05 and 0.02 in SLidR's and CLIP2Scene's pre-training and fine-tuning."""
    backend: Literal["torch", "spconv", "minkowski"] = "torch"
    """What does the arithmetic of sparse convolutions while training; spconv on CUDA only."""


@dataclass(frozen=True)
class Augment:
    """How scans are changed while training."""

    rotate: bool = True
    """Turn about z by any angle."""
    flip: bool = True
    """Mirror x, and y, each in half of the scans."""
    scale: float = 0.05
    """Largest relative change of size; 0: none."""
    shift_voxels: float = 1.0
    """Largest shift along each axis, so that voxels are not cut at the same places; 0: none."""


@dataclass(frozen=True)
class Fit:
    """How a network is trained."""

    epochs: int = 30
    """How often all chosen scans are seen."""
    batch_size: int = 4
    """Scans in a step, on each device."""
    optimizer: Literal["muon", "adamw", "sgd"] = "muon"
    """muon makes the updates of kernels orthogonal, and is adamw for the rest; both warm up over the first tenth. sgd
    has momentum 0.9 and dampening 0.1 (SLidR). All end in a cosine."""
    lr: float = 1.2e-2
    """Highest learning rate of the trunk; adamw wants a third of it."""
    lr_head: float | None = None
    """Highest learning rate of the heads. Default: as the trunk's. SLidR has 0.02 and 2.0 at 1 % of the labels."""
    weight_decay: float = 1e-2
    """Weight decay; 1e-4 in SLidR."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic, in Lightning's terms."""
    devices: int = 1
    """GPUs, or processes on the CPU."""
    workers: int = 0
    """Processes that read scans; 0: the training process itself."""
    save_every: int = 200
    """Steps between two checkpoints to resume from; one is written after each epoch in any case."""
    seed: int = 0
    """Of weights, order and augmentation; the same seed gives the same losses, also after an interruption."""


@dataclass(frozen=True)
class Pairing:
    """How points find pixels."""

    visibility: Literal["tested", "none"] = "tested"
    """Whether hidden points are left out; ``none`` pairs them with what hides them, as CLIP2Scene and SLidR do."""
    min_depth_m: float = 1.0
    """Nearer points are left out of photos without a depth image; of those with one, only points behind the camera."""
    image_tolerance_m: float = 0.05
    """With a depth image, a point is seen whose depth differs by no more than this, as in CLIP2Scene,"""
    image_tolerance_share: float = 0.0
    """plus this share of the depth: OpenScene takes 0.25 of it, and 0 m."""
    cover_rad: float = 0.0125
    """Without one, other points hide what is behind: each covers this angle to all sides, half of that between two
    of 32 beams."""
    cover_tolerance_m: float = 1.0
    """So much nearer a point must be than what it hides; less would let the ground hide itself,"""
    cover_tolerance_share: float = 0.05
    """plus this share of the hidden point's depth."""


@dataclass(frozen=True)
class Teacher:
    """The CLIP that looks at the photos, and where what it saw is kept."""

    weights: str | None = None
    """mini, <architecture>/<tag> or <architecture>/<path>. Default: what ovs3d.yaml in the data set's folder names,
    else ViT-B-16/openai."""
    short_side: int = 224
    """Larger photos are made smaller until their shorter side has as many pixels, as in CLIP2Scene."""
    normalize: bool = True
    """Bring colours to the mean and deviation that CLIP was trained with; CLIP2Scene's code leaves them in 0..1."""
    template: TemplateName = "none"
    """Sentences that classes are put into before CLIP reads them, also when the run is asked later; imagenet80 and
    clip2scene (85) are what MaskCLIP and CLIP2Scene were published with. none: the prompt itself."""
    dense: DenseOptions = field(default_factory=DenseOptions)
    feature_dir: Path | None = None
    """Folder of the features. Default: .ovs3d in the data set's folder."""
    device: str | None = None
    """Where CLIP runs: cpu, cuda or cuda:<number>. Default: cuda where there is one."""


@dataclass(frozen=True)
class Backbone:
    """The DINO that looks at the photos, and where what it saw is kept."""

    weights: str | None = None
    """mini, <architecture>/<tag> or <architecture>/<path>. Default: mini if ovs3d.yaml in the data set's folder names
    it, else vit_base_patch8_224_dino/facebook."""
    short_side: int = 224
    """Photos are made smaller or larger until their shorter side has as many pixels, as in SLidR."""
    feature_dir: Path | None = None
    """Folder of the features. Default: .ovs3d in the data set's folder."""
    device: str | None = None
    """Where DINO runs: cpu, cuda or cuda:<number>. Default: cuda where there is one."""


@dataclass(frozen=True)
class Superpixels:
    """How photos, at their own size, are cut into superpixels by SLIC; as SLidR does."""

    count: int = 150
    """How many of a photo, about."""
    compactness: float = 6.0
    """How much nearness counts against likeness of colours."""
    sigma: float = 3.0
    """Pixels by which the photo is blurred before."""


@dataclass(frozen=True)
class SamMasks:
    """How SAM is asked for all masks of a photo; the defaults are those of its authors for ViT-H."""

    points_per_side: int = 32
    """Points of a grid along each side of the photo; each is asked for its masks."""
    pred_iou_thresh: float = 0.88
    """Masks are dropped that SAM itself thinks worse than this."""
    stability_score_thresh: float = 0.95
    """Masks are dropped whose IoU with themselves, the border drawn a little higher and lower, is less than this."""


@dataclass(frozen=True)
class Felzenszwalb:
    """How photos are cut by the graph of Felzenszwalb and Huttenlocher (IJCV 2004)."""

    scale: float = 100.0
    """The higher, the larger the segments."""
    sigma: float = 0.8
    """Pixels by which the photo is blurred before."""
    min_size: int = 50
    """Pixels of the smallest segment."""


@dataclass(frozen=True)
class Masks:
    """What divides photos into masks, and where they are kept."""

    source: Literal["sam", "slic", "felzenszwalb"] = "sam"
    """SAM; or segments by colour alone, which need no weights."""
    weights: str | None = None
    """Of SAM: mini, <architecture>/<tag> or <architecture>/<path>. Default: mini if ovs3d.yaml in the data set's
    folder names it, else vit_b/facebook."""
    sam: SamMasks = field(default_factory=SamMasks)
    slic: Superpixels = field(default_factory=Superpixels)
    felzenszwalb: Felzenszwalb = field(default_factory=Felzenszwalb)
    feature_dir: Path | None = None
    """Folder of the masks. Default: .ovs3d in the data set's folder."""
    device: str | None = None
    """Where SAM runs: cpu, cuda or cuda:<number>. Default: cuda where there is one."""


@dataclass(frozen=True)
class Latent:
    """Features of SAM that both networks agree with, in heads of their own."""

    weight: float = 1.0
    """Of this loss; 0: it is left out, and SAM's features are not computed."""
    channels: int = 0
    """Principal axes of SAM's features that are kept; 0: all of its channels. They are fixed: what could be trained
    would collapse."""
    keep: bool = True
    """Keep the features of all photos on the disk, which says first how much that takes; otherwise each photo is looked
    at again in each step."""
    weights: str | None = None
    """Of SAM: mini, <architecture>/<tag> or <architecture>/<path>. Default: mini if ovs3d.yaml in the data set's
    folder names it, else vit_b/facebook."""
    feature_dir: Path | None = None
    """Folder of the features. Default: .ovs3d in the data set's folder."""
    device: str | None = None
    """Where SAM runs: cpu, cuda or cuda:<number>. Default: cuda where there is one."""


@dataclass(frozen=True)
class ImageNetwork:
    """The network of photos, and what it sees. Of several processes each normalises the features of its own photos."""

    name: ImageNetworkName | Literal["none"] = "deeplabv3-resnet50"
    """Architecture, as in torchvision; its weights begin at random. none: points learn alone."""
    init: Path | None = None
    """Backbone that learnt without labels, for instance MoCo's or DINO's ResNet-50."""
    height: int = 224
    """Rows of the crops that it is trained on,"""
    width: int = 416
    """and columns; 224 x 416 in CLIP2Scene."""
    crops: Literal["any", "largest"] = "any"
    """any: of 0.3 to 1 of a photo's area (CLIP2Scene). largest: in the proportions of height and width, as much of a
    photo as has them."""
    pixels: int = 2048
    """Pixels of each photo, drawn in each step, that it is taught besides those that show points."""
    flip: bool = True
    """Mirror half of the photos."""
    jitter: float = 0.2
    """Largest relative change of brightness, contrast and saturation; 0: none."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every training is told."""

    index: Path
    """Index of the data set, which ovs3d-points index wrote."""
    out: Path
    """Folder of the run: checkpoints, TensorBoard, the network itself, and report.json of a training on labels."""
    root: Path | None = None
    """Where the data set lies now, if it was moved since."""
    init: Path | None = None
    """Trunk to start from: the folder of a run, or a checkpoint of SLidR, or of SPVCNN by torchsparse, whose kernels
    are turned. Default: random."""
    percent: float = 100.0
    """Share of the frames, and of their labels, to train on: 1, 5, 10, 25 or 100."""
    share: Literal["scene", "frame"] = "scene"
    """What it is a share of: scenes as in SLidR, or frames of all scenes as in CLIP2Scene; the two do not compare."""
    share_from: int = 0
    """Which share: number of its first scene or frame, below 100 / percent. Published ones begin with 0, but SLidR's
    of nuScenes with 100 / percent - 1; a mean over several tells how much hangs on the choice."""
    net: Net = field(default_factory=Net)
    augment: Augment = field(default_factory=Augment)
    fit: Fit = field(default_factory=Fit)
