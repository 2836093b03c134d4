"""Reading what a paper's table is compared with."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from advdetect.evaluation.inputs import read_defenses, read_norms
from advdetect.files.attack import STAGE, TRANSFER
from advdetect.files.scores import read_cells
from advdetect.io import read_provenance, read_table
from advdetect.papers.readings import ScoreReader, Sources


def read_sources(paths: Sequence[str]) -> Sources:
    """Read files from score, feature, attack and defend, each by the stage that made it."""
    scores: dict[str, dict[int, ScoreReader]] = {}
    features: dict[tuple[str, str], dict[int, pd.DataFrame]] = {}
    attacks, defenses = [], []
    for path in paths:
        facts = read_provenance(path)
        step = facts["step"]
        if step in (STAGE, TRANSFER):
            attacks.append(path)
        elif step == "defend":
            defenses.append(path)
        elif step == "score":
            scores.setdefault(facts["name"], {})[facts["seed"]] = partial(read_cells, path)
        else:
            own = features.setdefault((facts["name"], facts["attack"]), {})
            own[facts["seed"]] = read_table(path)
    norms = {attack.attack: attack for attack in read_norms(attacks)}
    return Sources(scores, features, norms, read_defenses(defenses))
