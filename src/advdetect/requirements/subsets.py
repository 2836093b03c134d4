"""How many images a data set has: of its own, without those for validation, in a subset."""

from dataclasses import dataclass, replace

from advdetect.errors import AdvdetectError
from advdetect.protocol import TRAIN

VALIDATION_SHARE = (
    6  # one training image in so many; of MNIST's 60,000 as many as it has for testing
)


@dataclass(frozen=True)
class Images:
    """What is known of a data set before it is loaded; None is not known.

    Attributes:
        train: Training images.
        test: Test images.
        classes: Classes.
    """

    train: int | None = None
    test: int | None = None
    classes: int | None = None


def chosen(
    whole: Images, *, evaluate_on: str, train_count: int | None, test_count: int | None
) -> Images:
    """Return what is left of a data set for an experiment.

    Args:
        whole: The whole data set.
        evaluate_on: ``test`` or ``validation``.
        train_count: Training images to keep; None means all.
        test_count: Test images to keep; None means all.

    Raises:
        AdvdetectError: There are not so many, or fewer training images are kept than there are
            classes.
    """
    classes = whole.classes or 1
    train, test = whole.train, whole.test
    if evaluate_on == "validation":
        test = None if train is None else validation_count(train, classes)
        train = None if train is None or test is None else train - test
    return replace(
        whole,
        train=subset_count(train_count, train, classes, "train"),
        test=subset_count(test_count, test, classes, "test"),
    )


def validation_count(train: int, classes: int) -> int:
    """Return how many training images are held out for validation.

    Raises:
        AdvdetectError: A sixth of the images is fewer than there are classes.
    """
    count = train // VALIDATION_SHARE
    if count < classes:
        raise AdvdetectError(
            f"evaluate_on=validation holds out a sixth of the training images, here {count} of "
            f"{train}, which is below the number of classes ({classes}): use more training images, "
            "or evaluate_on=test."
        )
    return count


def subset_count(count: int | None, available: int | None, classes: int, name: str) -> int | None:
    """Return how many images of a split are kept, None where it is not known.

    Args:
        count: Images to keep; None means all.
        available: Images of the whole split; None is not known.
        classes: Classes.
        name: The split's name: of classes without a test image nothing is measured, without a
            training image nothing is learned.

    Raises:
        AdvdetectError: The split has fewer images, or ``count`` is below the number of classes of
            the training split.
    """
    if count is None or count == available:
        return available
    if available is not None and count > available:
        raise AdvdetectError(
            f"dataset.{name}_count={count}, but the {name} split has only {available} images: "
            f"ask for at most {available}, or for null to take them all."
        )
    if name == TRAIN and count < classes:
        raise AdvdetectError(
            f"dataset.{name}_count={count} is below the number of classes ({classes}): ask for at "
            "least one image per class."
        )
    return count


def check_training_images(count: int | None, use: str, instead: str) -> None:
    """Refuse what needs training images where a data set has none.

    Args:
        count: Training images; None is not known.
        use: What needs them, for the error: ``a feature is fitted on them``.
        instead: What to do, for the error.

    Raises:
        AdvdetectError: There are none.
    """
    if count == 0:
        raise AdvdetectError(f"The data set has no training images, and {use}: {instead}.")


def check_left_out(count: int | None, available: int | None) -> None:
    """Refuse to look for training images that nothing is trained on, where there are none.

    Args:
        count: Training images that are kept; None means all.
        available: Training images of the whole split; None is not known.

    Raises:
        AdvdetectError: All are kept.
    """
    if count is None or count == available:
        fewer = "" if available is None else f" than the {available} that there are"
        raise AdvdetectError(
            f"It starts from training images that no other model was trained on, and there are "
            f"none: set dataset.train_count to fewer{fewer}."
        )
