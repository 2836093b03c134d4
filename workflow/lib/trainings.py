"""How a model is trained: the kind that is chosen, with the kind's own settings."""

from collections.abc import Mapping

from advdetect.errors import AdvdetectError
from advdetect.yaml_text import read_yaml
from experiment import ConfigurationError, Spec
from methods import TRAINING, checked, unknown

_ATTACK = "attack"
STANDARD = "standard"
#: Of other models that a training needs: the name of each, and the settings that one which takes
#: the place of no name shares with it.
MadeFrom = dict[str, tuple[str, list[str]]]
_OTHERS = "_others_"


def with_training(
    model: Spec, name: str, kind: Spec, attacks: Mapping[str, Spec]
) -> tuple[Spec, MadeFrom]:
    """Return a model's specification with the kind of its training, and the models that it needs.

    Args:
        model: The model as composed; its own ``training`` holds epochs, batch size, learning rate
            and weight decay, whatever the kind.
        name: The chosen one of ``config/training/``.
        kind: What it holds, with its schema. An ``attack`` in it is
            written as ``fgsm,epsilon=0.25``: a name, and what is other than in the attack's YAML.
        attacks: All attacks, with their schemas.

    Raises:
        ConfigurationError: A name is unknown, or a value is impossible.
    """
    if not is_trained(model):
        if name != STANDARD:
            raise ConfigurationError(
                f"training: {name} is chosen, but the model takes its weights from a file or fits "
                "itself: leave out one of both."
            )
        return model, {}
    own = checked(TRAINING, kind)
    if twice := [key for key in own if key in model[TRAINING]]:
        raise ConfigurationError(
            f"config/training/: {twice[0]} is what model.training sets: call it otherwise."
        )
    if isinstance(own.get(_ATTACK), str):
        own[_ATTACK] = _attack(own[_ATTACK], attacks)
    # The names of other models change nothing by themselves: what these are made by does.
    made_from = {key: (own.pop(key) or "", shared) for key, shared in own.get(_OTHERS, {}).items()}
    if unnamed := [
        key for key, (given, shared) in made_from.items() if not given and shared is None
    ]:
        raise ConfigurationError(
            f"{TRAINING}.{unnamed[0]} must be set: the name of a run or of a model."
        )
    return model | {TRAINING: model[TRAINING] | own}, made_from


def is_trained(model: Spec) -> bool:
    """Return whether a model is trained here, and does not come with weights."""
    return not model.get("weights") and isinstance(model.get(TRAINING), dict)


def needs_unused(model: Spec) -> bool:
    """Return whether a model is trained on images that no other model was trained on."""
    return is_trained(model) and bool(model[TRAINING].get("_unused_"))


def _attack(text: str, attacks: Mapping[str, Spec]) -> Spec:
    where = f"{TRAINING}.{_ATTACK}"
    name, *pairs = (part.strip() for part in text.split(","))
    if name not in attacks:
        raise ConfigurationError(f"{where}: {unknown(_ATTACK, [name], attacks)}")
    values: Spec = {}
    for key, equals, value in (pair.partition("=") for pair in pairs):
        if not equals or key not in attacks[name]:
            known = ", ".join(key for key in attacks[name] if not key.startswith("_"))
            raise ConfigurationError(
                f"{where}: {key!r} is no parameter of {name}, which has: {known}; write it as "
                f"'{name},parameter=value'."
            )
        try:
            values[key] = read_yaml(value, where)
        except AdvdetectError as error:
            raise ConfigurationError(str(error)) from error
    spec = checked(where, attacks[name] | values)
    return {key: value for key, value in spec.items() if key == "_target_" or key[0] != "_"}
