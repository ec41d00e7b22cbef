"""Colours, shapes, relations and their words: one meaning a word, so that captions parse back."""

COLOURS = {
    "red": (214, 38, 42),
    "orange": (246, 134, 22),
    "yellow": (250, 218, 40),
    "green": (46, 158, 60),
    "turquoise": (44, 206, 200),
    "blue": (36, 82, 218),
    "purple": (126, 50, 176),
    "pink": (250, 136, 194),
    "white": (246, 246, 246),
    "black": (30, 30, 34),
}

# Attribute kind -> value -> its words, the plainest first. The order of kinds is their order before
# a noun: "a small striped red star".
WORDS = {
    "size": {
        "small": ("small", "little", "tiny"),
        "big": ("big", "large", "huge"),
    },
    "texture": {
        "plain": ("plain", "solid"),
        "striped": ("striped", "stripy"),
        "dotted": ("dotted", "spotted"),
        "checked": ("checked", "checkered"),
    },
    "colour": {
        "red": ("red", "scarlet", "crimson"),
        "orange": ("orange", "tangerine"),
        "yellow": ("yellow", "golden"),
        "green": ("green", "emerald"),
        "turquoise": ("turquoise", "cyan"),
        "blue": ("blue", "azure", "cobalt"),
        "purple": ("purple", "violet"),
        "pink": ("pink", "rosy"),
        "white": ("white", "ivory"),
        "black": ("black", "ebony"),
    },
    "shape": {
        "circle": ("circle", "disc", "ball"),
        "square": ("square", "box"),
        "triangle": ("triangle", "wedge"),
        "star": ("star",),
        "cross": ("cross", "plus"),
        "ring": ("ring", "hoop"),
        "heart": ("heart",),
        "diamond": ("diamond", "rhombus"),
        "crescent": ("crescent", "moon"),
        "arrow": ("arrow", "pointer"),
    },
}
ATTRIBUTES = ("size", "texture", "colour")

RELATIONS = {
    "left": ("left of", "to the left of", "on the left of"),
    "right": ("right of", "to the right of", "on the right of"),
    "above": ("above", "higher than"),
    "below": ("below", "beneath", "lower than"),
    "inside": ("inside", "within"),
    "around": ("around", "surrounding"),
    "front": ("in front of", "partly covering"),
    "behind": ("behind", "partly hidden by"),
}
INVERSE = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
    "inside": "around",
    "around": "inside",
    "front": "behind",
    "behind": "front",
}

ARTICLES = ("a", "an", "the", "one")
OPENINGS = ("there is", "a picture of", "the picture shows", "we see", "here is")
# Words of a caption that neither describe nor relate.
FILLERS = frozenset("and with that which is picture of shows we see here there".split())

# word -> (kind, value), and the words of a relation -> its name.
LEXICON = {
    word: (kind, value)
    for kind, values in WORDS.items()
    for value, words in values.items()
    for word in words
}
PHRASES = {tuple(phrase.split()): name for name, phrases in RELATIONS.items() for phrase in phrases}

# Colour-shape pairs that appear in the split `unseen` only. Each colour and each shape occurs in
# exactly one, because 3 and the number of shapes have no common factor.
HELD_OUT = frozenset(
    (colour, tuple(WORDS["shape"])[(3 * i + 1) % len(WORDS["shape"])])
    for i, colour in enumerate(WORDS["colour"])
)
