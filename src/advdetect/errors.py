"""The exception that means: the input is at fault, and here is what to do."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AdvdetectError(Exception):
    """A mistake that the user can mend.

    Its message is one sentence or two that say what is wrong and what to do; the command line
    prints it without a traceback and exits with status 1.
    """


def one_line(error: BaseException) -> str:
    """Return another library's error message on one line, to be quoted in ours."""
    return " ".join(str(error).split())


def explain_os_error(error: OSError) -> str:
    """Return the sentence for a file that cannot be read or written: a full disk, no right to."""
    return (
        f"{error.filename or 'A file'} cannot be read or written "
        f"({error.strerror or one_line(error)}): look at its path, its rights and the space that "
        f"is left. What is finished stays; the same command goes on from there."
    )


@contextmanager
def explain_failure(who: str) -> Iterator[None]:
    """Say in one sentence that what is called in the block, which may be a user's own, failed.

    Args:
        who: Whose it is, as the error begins, for example ``The attack fgsm``.
    """
    try:
        yield
    except (AdvdetectError, OSError):  # of the disk, it has its own sentence
        raise
    except Exception as error:  # a user's code raises what it likes
        frame = traceback.extract_tb(error.__traceback__)[-1]
        what = type(error).__name__
        hint = "; take a lower memory or batch_size" if "OutOfMemory" in what else ""
        said = f": {text}" if (text := one_line(error)) else ""
        raise AdvdetectError(
            f"{who} failed with {what}{said} ({frame.filename}, line {frame.lineno}){hint}. With "
            f"ADVDETECT_TRACEBACK=1 in the environment all calls are shown."
        ) from error


@contextmanager
def explain_unreadable(path: str | Path) -> Iterator[None]:
    """Say in one sentence that a file that is read in the block is missing or damaged."""
    try:
        yield
    except FileNotFoundError as error:
        raise AdvdetectError(f"The file {path} does not exist.") from error
    except Exception as error:  # every library has its own class for a damaged file
        raise AdvdetectError(
            f"The file {path} cannot be read ({one_line(error)}): it is damaged or of another "
            f"kind. Delete it and run again; only it and what follows from it are made anew."
        ) from error
