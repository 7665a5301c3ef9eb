"""What a device and its platform can do with a session, whatever protocol carries it."""

from typing import Protocol

from evaluation.simulation.wire.conversation import Line, Stream


class Session(Protocol):
    """An application session. Sizes are bytes of one message with its protocol header, about."""

    line: Line

    def start(self) -> None:
        """Connect, register or log in."""

    def report(self, up: int, down: int) -> None:
        """The device sends `up` bytes, the platform acknowledges or answers with about `down`."""

    def command(self, down: int, up: int) -> None:
        """The platform sends `down` bytes, the device answers with about `up`."""

    def keep_alive(self) -> None:
        """The smallest exchange that keeps the session."""

    def stop(self) -> None:
        """Say goodbye and close."""

    def lose(self) -> None:
        """The session ends without the device wanting it."""


def thought(line: Line) -> float:
    """Seconds that a platform takes to answer: mostly milliseconds, sometimes a slow back end."""
    return float(line.link.rng.lognormal(-4.2, 1.0))  # median 15 ms; judgement


def lose(stream: Stream, last_words: bytes) -> None:
    """A middlebox forgot the connection and the device talks in vain, or the platform closes it."""
    if stream.line.link.coin():
        stream.shout(last_words, repeats=int(stream.line.link.rng.integers(2, 5)))
    else:
        stream.close(up=False)
