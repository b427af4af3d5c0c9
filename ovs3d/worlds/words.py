"""The words of the tabletop worlds: what can stand on a table, in which colours and patterns."""

NOUNS = (
    "airplane",
    "ball",
    "boat",
    "book",
    "bottle",
    "bowl",
    "box",
    "cactus",
    "car",
    "chair",
    "cone",
    "crown",
    "duck",
    "dumbbell",
    "hat",
    "house",
    "lamp",
    "mug",
    "robot",
    "rocket",
    "snowman",
    "stairs",
    "star",
    "tree",
)
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "white")
PATTERNS = ("plain", "striped", "spotted", "checkered")
TABLES = ("wooden table", "marble table", "wicker table")
WALLS = ("brick wall", "stone wall", "tiled wall")


def phrase(color: str, pattern: str, noun: str) -> str:
    """The full prompt of an object: "red striped mug"; a plain one has no word for its pattern."""
    return f"{color} {noun}" if pattern == "plain" else f"{color} {pattern} {noun}"
