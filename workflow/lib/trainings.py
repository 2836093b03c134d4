"""How a model is trained: the kind that is chosen, with the kind's own settings."""

import re
from collections.abc import Callable, Mapping

from advdetect.errors import AdvdetectError
from advdetect.requirements.training import FROM_WEIGHTS
from advdetect.yaml_text import read_yaml
from experiment import ConfigurationError, Spec
from methods import REQUIRES, TRAINING, WEIGHTS, checked, unknown

_ATTACK = "attack"
STANDARD = "standard"
#: Of other models that a training needs: the name of each, and the settings that one which takes
#: the place of no name shares with it.
MadeFrom = dict[str, tuple[str, list[str]]]
_OTHERS, _KINDS = "_others_", "_kinds_"
_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')  # outside quotes
_KEPT = ("_target_", REQUIRES)  # of a method within another


def with_training(
    model: Spec, name: str, kind: Spec, attacks: Mapping[str, Spec], find: Callable[[str], Spec]
) -> tuple[Spec, MadeFrom]:
    """Return a model's specification with the kind of its training, and the models that it needs.

    Args:
        model: The model as composed; its own ``training`` holds epochs, batch size, learning rate
            and weight decay, whatever the kind.
        name: The chosen one of ``config/training/``.
        kind: What it holds, with its schema. An ``attack`` in it is
            written as ``fgsm,epsilon=0.25``: a name, and what is other than in the attack's YAML.
            What it lists as ``_kinds_`` are settings that name other kinds in the same way.
        attacks: All attacks, with their schemas.
        find: Returns another kind, with its schema, by its name.

    Raises:
        ConfigurationError: A name is unknown, or a value is impossible.
    """
    if not is_trained(model | {TRAINING: model.get(TRAINING) and kind}):
        if FROM_WEIGHTS in kind and model.get(WEIGHTS):
            raise ConfigurationError(
                f"training: {name} is chosen, but model.training is null: give epochs, batch_size, "
                "learning_rate and weight_decay."
            )
        if name != STANDARD:
            hint = ", or take training=fine_tuning, which goes on from the file"
            raise ConfigurationError(
                f"training: {name} is chosen, but the model takes its weights from a file or fits "
                f"itself: leave out one of both{hint if model.get(WEIGHTS) else ''}."
            )
        return model, {}
    own = checked(TRAINING, kind)
    if twice := [key for key in own if key in model[TRAINING]]:
        raise ConfigurationError(
            f"config/training/: {twice[0]} is what model.training sets: call it otherwise."
        )
    own |= {key: _loss(f"{TRAINING}.{key}", own[key], attacks, find) for key in own.get(_KINDS, ())}
    own = _with_attack(TRAINING, own, attacks)
    # The names of other models change nothing by themselves: what these are made by does.
    made_from = {key: (own.pop(key) or "", shared) for key, shared in own.get(_OTHERS, {}).items()}
    if start := own.get(FROM_WEIGHTS):
        if bool(model.get(WEIGHTS)) == bool(made_from[start][0]):
            raise ConfigurationError(
                f"training={name}: say what it goes on from, either model.weights, a file, or "
                f"{TRAINING}.{start}, the name of a run or of a model."
            )
        if model.get(WEIGHTS):
            del made_from[start]
    if unnamed := [
        key for key, (given, shared) in made_from.items() if not given and shared is None
    ]:
        raise ConfigurationError(
            f"{TRAINING}.{unnamed[0]} must be set: the name of a run or of a model."
        )
    return model | {TRAINING: model[TRAINING] | own}, made_from


def is_trained(model: Spec) -> bool:
    """Return whether a model is trained here, and not with weights that stay as they are."""
    training = model.get(TRAINING)
    return isinstance(training, dict) and (not model.get(WEIGHTS) or FROM_WEIGHTS in training)


def needs_unused(model: Spec) -> bool:
    """Return whether a model is trained on images that no other model was trained on."""
    return is_trained(model) and bool(model[TRAINING].get("_unused_"))


def _loss(where: str, text: str, attacks: Mapping[str, Spec], find: Callable[[str], Spec]) -> Spec:
    """Return the kind of training whose loss another one minimises."""
    kind = _written(where, text, find)
    if {_OTHERS, "_unused_"} & kind.keys():
        raise ConfigurationError(
            f"{where}: {text.partition(',')[0]} needs other models, or images of its own: choose a "
            "loss alone, such as standard, noise or adversarial."
        )
    return _with_attack(where, _own(kind), attacks)


def _with_attack(where: str, kind: Spec, attacks: Mapping[str, Spec]) -> Spec:
    """Return a kind with the specification of the attack that it names, if it names one."""
    if not isinstance(kind.get(_ATTACK), str):
        return kind

    def find(name: str) -> Spec:
        if name not in attacks:
            raise ConfigurationError(unknown(_ATTACK, [name], attacks))
        if "_target_" not in attacks[name]:
            raise ConfigurationError(f"{name} is made from files and crafts nothing: name another.")
        return attacks[name]

    return kind | {_ATTACK: _own(_written(f"{where}.{_ATTACK}", kind[_ATTACK], find))}


def _own(spec: Spec) -> Spec:
    return {key: value for key, value in spec.items() if key in _KEPT or key[0] != "_"}


def _written(where: str, text: str, find: Callable[[str], Spec]) -> Spec:
    """Return a method that is written as a name and what is other than in its YAML, checked.

    A value that holds commas is in double quotes.
    """
    name, *pairs = (part.strip() for part in _COMMA.split(text))
    try:
        method = find(name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    values: Spec = {}
    for key, equals, value in (pair.partition("=") for pair in pairs):
        if not equals or key not in method:
            known = ", ".join(key for key in method if not key.startswith("_"))
            raise ConfigurationError(
                f"{where}: {key!r} is no parameter of {name}, which has: {known}; write it as "
                f"'{name},parameter=value'."
            )
        try:
            values[key] = read_yaml(value, where)
        except AdvdetectError as error:
            raise ConfigurationError(str(error)) from error
    return checked(where, method | values)
