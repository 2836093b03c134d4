"""What a job does first: hand itself over to the process that has the libraries imported.

The process stays and stands for the job: signals that it gets go on to the fork that does the job,
its end is that fork's end, and it leaves with the fork's exit status.

Only C modules of the interpreter are imported: ``socket``, ``signal`` and ``json`` take as long as
the whole interpreter.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import os
import sys
from types import FrameType

#: The environment variable that names the server's socket (abstract: it leaves no file behind).
VARIABLE = "ADVDETECT_WARM"
#: Kinds of answers, each followed by a number: the exit status or the signal, else 0.
DECLINED, ACCEPTED, EXITED, KILLED = range(4)
FORWARDED = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)


def hand_over() -> None:
    """Have the job done by the server and leave with its exit status.

    Returns where it is to be done in this process: no server is named or it answers no more, it
    declines (see `request.Request.suits`), or it was killed in the middle of the job.
    """
    name = os.environ.pop(VARIABLE, None)  # not for what the job itself may start
    if name is None:
        return
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        if _is_accepted(connection, name):
            _stand_for(connection)
    finally:
        connection.close()


def _is_accepted(connection: _socket.socket, name: str) -> bool:
    """Send the job to the server with a name; return whether that does it."""
    try:
        connection.connect(f"\0{name}")
        if owner(connection) != os.getuid():
            return False
        _send(connection, _request())
        return _answer(connection)[0] == ACCEPTED
    except OSError:
        return False


def owner(connection: _socket.socket) -> int:
    """Return the user who opened the other end: anyone may connect to a socket without a file."""
    process_user_group = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(process_user_group[4:8], sys.byteorder)


def interpreter() -> str:
    """Return what tells this Python and its packages from another."""
    return f"{sys.prefix} {sys.version}"


def _request() -> bytes:
    """Return all that makes this process what it is, as texts between zero bytes."""
    umask = os.umask(0)
    os.umask(umask)
    ignored = [n for n in range(1, _signal.NSIG) if _signal.getsignal(n) == _signal.SIG_IGN]
    fields = [
        *(interpreter(), sys.executable, os.getcwd()),
        *(str(umask), str(os.getsid(0)), str(os.getpgrp())),
        *(str(len(ignored)), *map(str, ignored)),
        *(str(len(sys.path)), *sys.path),
        *(str(len(sys.argv)), *sys.argv),
        *(f"{name}={value}" for name, value in os.environ.items()),
    ]
    return os.fsencode("\0".join(fields))


def _send(connection: _socket.socket, request: bytes) -> None:
    """Send standard input, output and error with the length of the request, then the request."""
    files = b"".join(file.to_bytes(4, sys.byteorder) for file in (0, 1, 2))
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)
    connection.sendmsg([len(request).to_bytes(8, "big")], [rights])
    connection.sendall(request)


def _answer(connection: _socket.socket) -> bytes:
    """Return the kind and the number of the server's next answer.

    Raises:
        ConnectionError: The server has ended, and so has the job.
    """
    answer = connection.recv(2)
    if not answer:
        raise ConnectionError
    return answer


def _stand_for(connection: _socket.socket) -> None:
    """Pass signals on until the job ends; leave with its exit status.

    Returns where the server has ended, and so the job. Nothing else that goes wrong leads back to
    it: a job that was interrupted would begin again.
    """
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        try:
            connection.send(bytes([number]))
        except OSError:
            return  # the job has ended: its answer is read or waits to be

    before = {n: _signal.getsignal(n) for n in FORWARDED}
    for number, handler in before.items():
        if handler != _signal.SIG_IGN:
            _signal.signal(number, forward)
    try:
        kind, number = _answer(connection)
    except OSError:
        for number, handler in before.items():
            _signal.signal(number, handler)
        if received:  # the user ended it all
            os._exit(128 + received[-1])
        _say("the process that had its libraries imported was killed: it begins again")
        return
    if kind == EXITED:
        os._exit(number)
    reason = " (where memory runs out the kernel does so)" if number == _signal.SIGKILL else ""
    _say(f"error: ended by signal {number}, {_signal.strsignal(number)}{reason}")
    os._exit(128 + number)


def _say(message: str) -> None:
    """Write a line about the job to standard error."""
    try:
        os.write(2, os.fsencode(f"advdetect {' '.join(sys.argv[1:2])}: {message}.\n"))
    except OSError:
        return  # Ctrl-C has ended who reads it
