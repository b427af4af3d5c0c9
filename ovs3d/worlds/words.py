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
