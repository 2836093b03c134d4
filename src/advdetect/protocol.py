"""The words of the detection protocol, which steps, files and tables share."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: Where images come from, if not from an attack.
CLEAN = "clean"
TRAIN = "train"
UNUSED = "unused"  # the training images that `dataset.train_count` leaves out
HELD_OUT = "held_out"
#: The attack that changes nothing: of clean images that take its path, features must be the same,
#: and no detector may tell them from clean ones.
UNCHANGED = "unchanged"
#: What a detector was trained on, where that is neither an attack nor `CLEAN`: all attacks but the
#: one that it is tested on.
OTHERS = "others"
KINDS = (CLEAN, "noisy", "adversarial")
#: Name of the form that images are in → suffix of its kinds and columns.
BITS = {"float32": "", "8bit": "_8bit"}
POSITIVES = ("successful", "all")
FALSE_POSITIVE_RATES = (0.01, 0.05)
#: The form of the cross-attack tables.
MAIN_FORM = ("float32", "successful")


def on_own_attack(cells: "pd.DataFrame") -> "pd.Series":
    """Return where a detector met an attack as it was meant to: bool, one per row.

    A supervised detector was trained on the attack that it is tested on, an unsupervised one on
    clean images.

    Args:
        cells: With the columns trained_on and tested_on.
    """
    trained_on = cells["trained_on"].astype(str)
    return (trained_on == cells["tested_on"].astype(str)) | (trained_on == CLEAN)
