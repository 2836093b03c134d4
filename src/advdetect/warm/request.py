"""What a job sends to the server: all that a process of its own would have."""

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from advdetect.warm.client import interpreter

SECONDS_TO_SEND = 10.0


@dataclass(frozen=True)
class Request:
    """A job.

    Attributes:
        interpreter: What tells its Python and packages from another's.
        executable: Path of its Python.
        folder: Its current folder.
        umask: Its file mode creation mask.
        session: Its session; signals from a terminal go to one.
        group: Its process group; what ends the job's shell ends the group.
        ignored: Numbers of the signals that it ignores.
        path: Where it looks for modules.
        arguments: Its ``sys.argv``.
        environment: Its environment variables.
        files: Descriptors of its standard input, output and error, open in this process.
    """

    interpreter: str
    executable: str
    folder: str
    umask: int
    session: int
    group: int
    ignored: list[int]
    path: list[str]
    arguments: list[str]
    environment: dict[str, str]
    files: list[int]

    @classmethod
    def receive(cls, connection: socket.socket) -> Self:
        """Read a job from a connection.

        Raises:
            OSError: The job's process has ended, or sends nothing.
            ValueError: What it sends is no job.
        """
        connection.settimeout(SECONDS_TO_SEND)
        head, files, _, _ = socket.recv_fds(connection, 8, 3)
        try:
            text = _receive(connection, int.from_bytes(head, "big"))
            connection.settimeout(None)
            fields = iter(os.fsdecode(text).split("\0"))
            return cls(
                *(next(fields), next(fields), next(fields)),
                *(int(next(fields)), int(next(fields)), int(next(fields))),
                ignored=list(map(int, _several(fields))),
                path=_several(fields),
                arguments=_several(fields),
                environment=dict(field.split("=", 1) for field in fields),
                files=files,
            )
        except StopIteration:
            _close(files)
            raise ValueError("a request is not whole") from None
        except BaseException:
            _close(files)
            raise

    def suits(self) -> bool:
        """Return whether a fork of this process does the job as a process of its own would.

        Not so: another Python; another session; other numbers of threads, which libraries read
        when they are imported; a module in the job's folder that hides one that is imported here.
        """
        modules = {name.partition(".")[0] for name in sys.modules} - {"advdetect"}
        hiding = {path.stem for path in Path(self.folder).glob("*.py")}
        hiding |= {path.parent.name for path in Path(self.folder).glob("*/__init__.py")}
        return (
            self.interpreter == interpreter()
            and self.session == os.getsid(0)
            and _threads(self.environment) == _threads(os.environ)
            and not hiding & modules
        )

    def close(self) -> None:
        """Close the job's files in this process."""
        _close(self.files)


def _receive(connection: socket.socket, size: int) -> bytes:
    text = bytearray()
    while len(text) < size:
        received = connection.recv(size - len(text))
        if not received:
            raise ConnectionError
        text += received
    return bytes(text)


def _several(fields: Iterator[str]) -> list[str]:
    return [next(fields) for _ in range(int(next(fields)))]


def _threads(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.endswith("_NUM_THREADS")}


def _close(files: list[int]) -> None:
    for file in files:
        with suppress(OSError):
            os.close(file)
