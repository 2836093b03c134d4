"""The exception that means: the input is at fault, and here is what to do."""

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
