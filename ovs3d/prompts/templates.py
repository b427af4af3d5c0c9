"""Sentences that a prompt is put into before CLIP reads it."""

from typing import Literal

TemplateName = Literal["none", "photo", "scene", "imagenet7", "imagenet80", "clip2scene"]
_IN_SCENES = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)

TEMPLATES: dict[str, tuple[str, ...]] = {
    # 3D-OVS: the prompt itself.
    "none": ("{}",),
    "photo": ("a photo of a {}.",),
    # OpenScene's sentence for rooms and streets.
    "scene": ("a {} in a scene",),
    # The seven of CLIP's 80 ImageNet sentences that its authors found to do nearly as well as all.
    "imagenet7": (
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
}


def sentences(name: TemplateName) -> tuple[str, ...]:
    """The lists above, CLIP's 80 for ImageNet, and these with the five more of CLIP2Scene's code."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    of_imagenet = tuple(fill("{}") for fill in OPENAI_IMAGENET_TEMPLATES)
    return of_imagenet if name == "imagenet80" else of_imagenet + _IN_SCENES
