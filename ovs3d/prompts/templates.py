"""Sentences that a prompt is put into before CLIP reads it."""

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
