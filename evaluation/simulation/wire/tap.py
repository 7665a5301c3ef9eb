"""Where packets are recorded: the tap at SGi, its clock, and the path on either side of it."""

from dataclasses import dataclass
from math import log
from operator import itemgetter

import numpy as np

Packet = tuple[int, bytes]  # capture time in microseconds since the start of the simulation; Ethernet frame


class Tap:
    """The tap as one activity of one device sees it: a clock in seconds, and the packets that passed."""

    def __init__(self) -> None:
        self.now = 0.0
        self._packets: list[Packet] = []

    def record(self, at: float, frame: bytes) -> None:
        """Keep a frame that passes at `at` seconds."""
        self._packets.append((round(at * 1e6), frame))

    def wait_until(self, moment: float) -> None:
        """Move the clock to `moment`, or leave it when it is later already."""
        self.now = max(self.now, moment)

    def take(self) -> list[Packet]:
        """Return the packets since the last call, in time order, and forget them."""
        taken, self._packets = sorted(self._packets, key=itemgetter(0)), []
        return taken


@dataclass(frozen=True)
class Link:
    """The two halves of a path: radio between device and tap, backbone between tap and server.

    round_trip_s, server_s: medians of the two round trips; each trip varies by a log-normal factor.
    loss: share of packets that are lost, on either side of the tap.
    """

    rng: np.random.Generator
    round_trip_s: float
    server_s: float
    rate_bit_s: float
    loss: float
    variation: float = 0.25  # sigma of the log; judgement

    def turnaround(self, *, up: bool) -> float:
        """Seconds from a packet at the tap to the earliest reaction of the side it travels to."""
        median = self.server_s if up else self.round_trip_s
        return float(self.rng.lognormal(log(median), self.variation))

    def round_trip(self) -> float:
        """Seconds of one full round trip between device and server."""
        return self.turnaround(up=True) + self.turnaround(up=False)

    def airtime(self, size: int) -> float:
        """Seconds that `size` bytes occupy the radio."""
        return size * 8 / self.rate_bit_s

    def loses(self) -> bool:
        """Whether the next packet is lost."""
        return bool(self.rng.random() < self.loss)

    def coin(self) -> bool:
        """An even chance: of a lost packet, whether the tap had seen it."""
        return bool(self.rng.random() < 0.5)


def noise(rng: np.random.Generator, size: int) -> bytes:
    """Return random bytes, as ciphertext looks; ten times as fast as Generator.bytes for a packet."""
    return rng.bit_generator.random_raw(-(-size // 8)).tobytes()[:size]
