"""Does each job in a fork of this process, which has the libraries of all jobs imported.

A job that comes while these are still imported waits for those that nearly all jobs need: on two
cores three processes that import the same take longer. Its fork imports the rest.
For Linux: forks of processes that have libraries imported are not safe everywhere.
"""

import os
import selectors
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress

from advdetect.warm.client import ACCEPTED, DECLINED, EXITED, KILLED, owner
from advdetect.warm.fork import do_job
from advdetect.warm.request import Request

PARENT = 0  # standard input: a pipe that the parent holds open


class Server:
    """Forks for every job that is asked for, and tells how it ended.

    One thread and one loop: of a process with several threads a fork would not be safe. (Arrow's
    allocator has one of its own, and cares for forks.)

    Args:
        listener: The socket that jobs connect to.
        variables: Environment variables that the imported libraries have set by now.
    """

    def __init__(self, listener: socket.socket, variables: Mapping[str, str]) -> None:
        self._listener = listener
        self._variables = variables
        self._jobs: dict[int, socket.socket] = {}
        self._accepts = True
        self._wakened, self._wake = socket.socketpair()  # signals end the waiting of the loop
        for end in (self._wakened, self._wake):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()

    def serve(self, preparation: Iterator[object]) -> None:
        """Do jobs until the parent ends, which ends them, or, after SIGTERM, until they end.

        Args:
            preparation: What is done step by step meanwhile.
        """
        signal.set_wakeup_fd(self._wake.fileno())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, lambda number, frame: self._stop_accepting())
        for file in (PARENT, self._listener, self._wakened):
            self._selector.register(file, selectors.EVENT_READ)
        is_prepared = False
        while self._accepts or self._jobs:
            for key, _ in self._selector.select(None if is_prepared else 0):
                if key.fileobj == PARENT:
                    return self._end_jobs()
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wakened:
                    self._wakened.recv(4096)
                    self._report_ended_jobs()
                else:
                    self._pass_signals_on(key.data)
            if not is_prepared:
                on_end = signal.getsignal(signal.SIGTERM)
                if not self._jobs:
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ends at once
                is_prepared = next(preparation, None) is None
                signal.signal(signal.SIGTERM, on_end)

    def _stop_accepting(self) -> None:
        if self._accepts:
            self._accepts = False
            self._selector.unregister(self._listener)
            self._listener.close()

    def _end_jobs(self) -> None:
        """End the jobs of a parent that was killed: it might be started again any moment."""
        for process, connection in self._jobs.items():
            _answer(connection, KILLED, signal.SIGTERM)
            os.kill(process, signal.SIGTERM)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        process = 0
        with suppress(OSError, ValueError):  # its job was killed meanwhile, or it is no job
            if owner(connection) == os.getuid():
                request = Request.receive(connection)
                if request.suits():
                    process = self._fork(request)
                request.close()
        _answer(connection, ACCEPTED if process else DECLINED, 0)
        if process:
            self._jobs[process] = connection
            self._selector.register(connection, selectors.EVENT_READ, process)
        else:
            connection.close()

    def _fork(self, request: Request) -> int:
        """Begin a job; return its process, 0 where the system admits none."""
        server = os.getpid()
        # A signal that comes before the fork has its own handlers waits until it has.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            process = os.fork()
            if process == 0:
                self._leave()
                do_job(request, server, self._variables)
            return process
        except OSError:  # no memory, or too many processes
            return 0
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _leave(self) -> None:
        """Close, in a fork, what belongs to the server and to the other jobs.

        The job's own connection stays open: where the server is killed, it closes, and its client
        begins again, only when the fork has ended, too.
        """
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for file in (self._listener, self._wakened, self._wake, *self._jobs.values()):
            file.close()

    def _report_ended_jobs(self) -> None:
        for process in list(self._jobs):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                connection = self._jobs.pop(process)
                _answer(connection, KILLED if code < 0 else EXITED, abs(code))
                self._selector.unregister(connection)
                connection.close()

    def _pass_signals_on(self, process: int) -> None:
        """Send a job the signals that its client got; nothing more to read: that was killed."""
        if process not in self._jobs:  # it has just ended
            return
        try:
            signals = self._jobs[process].recv(64)
        except OSError:
            signals = b""
        for number in signals or [signal.SIGKILL]:
            os.kill(process, number)


def _answer(connection: socket.socket, kind: int, number: int) -> None:
    with suppress(OSError):  # the client was killed
        connection.sendall(bytes([kind, number]))
