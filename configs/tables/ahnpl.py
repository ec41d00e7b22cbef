"""The ladder from plain CLIP to AHNPL on Scenes: equal steps, three seeds each."""

from jaxvl.training.sweep import Table

EVALUATION = ("--config.eval.every_steps=0", "--config.eval.max_examples=1000")
RETRIEVAL = {
    "i2t R@1": "retrieval/i2t_r1",
    "t2i R@1": "retrieval/t2i_r1",
    "i2t R@10": "retrieval/i2t_r10",
    "t2i R@10": "retrieval/t2i_r10",
}


METHODS = {  # row -> argument of coco_ahnpl
    "CLIP": "demo,clip",
    "NegCLIP": "demo,negclip",
    "CE-CLIP": "demo,ceclip",
    "AHNPL as released": "demo,released",
    "AHNPL": "demo",
}


def row(argument: str) -> tuple[str, ...]:
    """Returns the flags of a setting of coco_ahnpl."""
    return (f"--config=coco_ahnpl:{argument}", *EVALUATION)


def get_table() -> Table:
    """Returns the Table."""
    quintiles = {f"false matches q{q}": f"hard_negatives/false_match_q{q}" for q in (1, 2, 3, 4, 5)}
    return Table(
        rows={name: row(argument) for name, argument in METHODS.items()},
        seeds=(0, 1, 2),
        splits=("test", "unseen"),
        columns={
            "hard negatives": "hard_negatives/accuracy",
            "swap attribute": "hard_negatives/swap_attribute",
            "swap relation": "hard_negatives/swap_relation",
            "replace attribute": "hard_negatives/replace_attribute",
            "replace object": "hard_negatives/replace_object",
            "replace relation": "hard_negatives/replace_relation",
            **quintiles,  # of the texts' similarity, the most similar last
            **RETRIEVAL,
        },
    )
