"""The exception that means: the input is at fault, and here is what to do."""


class AdvdetectError(Exception):
    """A mistake that the user can mend.

    Its message is one sentence or two that say what is wrong and what to do; the command line
    prints it without a traceback and exits with status 1.
    """


def one_line(error: BaseException) -> str:
    """Return another library's error message on one line, to be quoted in ours."""
    return " ".join(str(error).split())
