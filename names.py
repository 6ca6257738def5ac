"""The names that every part agrees on, said once. No torch is needed to know them."""

CLASSES = ("Real", "Fake")  # a label is an index into this; a score is P(fake), from 0 to 1
REAL, FAKE = 0, 1
UNSURE = "Unsure"  # a verdict is one of CLASSES, or this

# What --arch takes. The networks are model.MODELS, which has these rows and no others (a test compares them).
ARCHITECTURES = (
    "resnet50", "efficientnet_b0", "tf_efficientnet_lite0", "tf_efficientnet_lite2", "clip_vit_b16",
    "clip_vit_b16_lite0", "tf_efficientnet_lite0_pair", "tiny",
)  # fmt: skip

# What an epoch's row says of Validation, each after "val_".
VALIDATED = ("loss", "accuracy", "precision", "recall", "f1", "auc")


def percent(score: float | None) -> str:
    """A score as a person should read it: no figure that claims certainty."""
    if score is None:
        return "-"
    if score < 0.01:
        return "<1 %"
    return ">99 %" if score > 0.99 else f"{score:.0%}".replace("%", " %")
