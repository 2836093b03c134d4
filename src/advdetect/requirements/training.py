"""What a model needs: weights, how to train them, or a method of its own that fits it."""

from collections.abc import Mapping
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.requirements.subsets import Images

#: In a model: an argument that is taken from the data.
FROM_THE_DATA = "auto"
#: In a model: whether its method ``fit`` fits it, in place of a training.
FITTED = "_fitted_"
#: In a model that answers labels only, and in an attack or a training that asks for no more.
LABELS_ONLY = "_labels_only_"
#: In a training: the setting that names the model whose weights it goes on from, of which a file,
#: ``model.weights``, takes the place.
FROM_WEIGHTS = "_weights_"
#: What a model's ``training`` is set to where its YAML says nothing else; see `loop.train`.
OPTIONS: dict[str, Any] = {
    "optimizer": "adamw",
    "momentum": 0.9,
    "schedule": "one_cycle",
    "precision": "float32",
    "channels_last": False,
}


def check_source_of_weights(model: Mapping[str, Any]) -> None:
    """Refuse the specification of a model that has neither weights nor a training.

    Raises:
        AdvdetectError: It has neither and is not fitted by its own method, or it has one and is.
    """
    given = [key for key in ("weights", "training") if model.get(key)]
    if model.get(FITTED):
        if given:
            raise AdvdetectError(
                f"model.{given[0]}: this model is fitted by its own method fit: set it to null."
            )
    elif not given:
        raise AdvdetectError(
            "model: there is neither model.weights, a file, nor model.training, how to train: give "
            "one of them."
        )


def moments_from_the_data(arguments: Mapping[str, Any]) -> list[str]:
    """Return which of a model's arguments are the mean and deviation of the training images."""
    return [name for name in ("mean", "std") if arguments.get(name) == FROM_THE_DATA]


def check_part(
    images: Images, owner: Mapping[str, Any], *, part: str | None = None, **parameters: object
) -> None:
    """Check that there is such a part of the training images; see `training.standard.Standard`.

    Args:
        images: What is known of the data set.
        owner: Not used.
        part: ``i/n``, or None for all.
        parameters: Other settings of the training.

    Raises:
        AdvdetectError: There are fewer parts than i.
    """
    numbers_of(part)


def numbers_of(part: str | None) -> tuple[int, int]:
    """Return i and n of a part ``i/n``, 1 and 1 of none.

    Raises:
        AdvdetectError: There are fewer parts than i.
    """
    number, parts = map(int, part.split("/")) if part else (1, 1)
    if number > parts:
        raise AdvdetectError(f"part: {part} is none of {parts} parts.")
    return number, parts
