"""LwM2M over CoAP, encoded by aiocoap: registration, notifications, commands, retransmission."""

from typing import Literal

from aiocoap import ACK, CON, Code, Message

from evaluation.simulation.wire.conversation import Datagrams, Line
from evaluation.simulation.wire.tap import noise

ACK_TIMEOUT_S, MAX_RETRANSMIT = 2.0, 4  # RFC 7252 section 4.8
_ACK_RANDOM = 1.5
SENML_CBOR, TLV, LINK_FORMAT = 112, 11542, 40  # content formats
_OBJECTS = b"</>;rt=oma.lwm2m;ct=11543,</1/0>,</3/0>,</4/0>,</3303/0>"
_OBSERVED = (("3303", "0", "5700"), ("3", "0", "9"), ("4", "0", "2"), ("10", "0", "1"))


class Lwm2mSession:
    """An LwM2M client and its server over one pair of ports, plain or under DTLS."""

    def __init__(
        self, datagrams: Datagrams, endpoint: str, *, style: Literal["notify", "post"], lifetime_s: float
    ) -> None:
        self.line: Line = datagrams.line
        self._datagrams, self._style = datagrams, style
        self._query = (f"ep={endpoint}", f"lt={lifetime_s:.0f}", "lwm2m=1.1", "b=U")
        rng = self.line.link.rng
        self._ids = [int(n) for n in rng.integers(0, 2**16, 2)]
        self._location = noise(rng, 5).hex()
        self._token, self._observe = noise(rng, int(rng.choice((2, 4, 8)))), int(rng.integers(100))

    def start(self) -> None:
        """Register, then let the server observe some resources and read the device object."""
        rng = self.line.link.rng
        register = Message(code=Code.POST, payload=_OBJECTS)
        register.opt.uri_path, register.opt.uri_query = ("rd",), self._query
        register.opt.content_format = LINK_FORMAT
        created = Message(code=Code.CREATED)
        created.opt.location_path = ("rd", self._location)
        self._confirm(True, register, answer=created)
        for path in _OBSERVED[: int(rng.integers(2, 5))]:
            observe = Message(code=Code.GET)
            observe.opt.observe, observe.opt.uri_path = 0, path
            first = Message(code=Code.CONTENT, payload=noise(rng, int(rng.integers(3, 16))))
            first.opt.observe, first.opt.content_format = 0, TLV
            self._confirm(False, observe, answer=first)

    def report(self, up: int, down: int) -> None:
        """Notify an observed value, or post to a data object, as the firmware does."""
        if self._style == "notify":
            self._observe += 1
            notice = Message(code=Code.CONTENT)
            notice.opt.observe, notice.opt.content_format = self._observe, TLV
            self._confirm(True, self._filled(notice, up))
            return
        post = Message(code=Code.POST)
        post.opt.uri_path, post.opt.content_format = ("dp",), SENML_CBOR
        changed = self._filled(Message(code=Code.CHANGED), down)
        self._confirm(True, self._filled(post, up), answer=changed)

    def command(self, down: int, up: int) -> None:
        """Write or execute on the device."""
        write = Message(code=Code.PUT)
        write.opt.uri_path, write.opt.content_format = ("3311", "0", "5850"), TLV
        changed = self._filled(Message(code=Code.CHANGED), up)
        self._confirm(False, self._filled(write, down), answer=changed)

    def keep_alive(self) -> None:
        """Update the registration."""
        update = Message(code=Code.POST)
        update.opt.uri_path = ("rd", self._location)
        self._confirm(True, update, answer=Message(code=Code.CHANGED))

    def stop(self) -> None:
        """De-register."""
        leave = Message(code=Code.DELETE)
        leave.opt.uri_path = ("rd", self._location)
        self._confirm(True, leave, answer=Message(code=Code.DELETED))

    def lose(self) -> None:
        """The registration runs out; the device will register again."""

    def probe(self) -> None:
        """What a stranger's scan asks every CoAP port; nobody answers."""
        ask = Message(code=Code.GET)
        ask.opt.uri_path = (".well-known", "core")
        self._datagrams.send(False, self._encoded(False, ask), at=self.line.tap.now)

    def _filled(self, message: Message, size: int) -> Message:
        """Pad the payload so that the whole message is about `size` bytes."""
        head = 4 + len(self._token) + len(message.opt.encode()) + 1
        message.payload = noise(self.line.link.rng, max(size - head, 0))
        return message

    def _encoded(self, up: bool, message: Message) -> bytes:
        self._ids[up] = (self._ids[up] + 1) & 0xFFFF
        message.mtype, message.mid, message.token = CON, self._ids[up], self._token
        return bytes(message.encode())

    def _confirm(self, up: bool, request: Message, *, answer: Message | None = None) -> None:
        """Send a confirmable message until its reply is seen: an answer in the ACK, or an empty ACK.

        Every copy that arrives is replied to, so a slow radio shows repeats of one message id and of its ACK.
        """
        asked = self._encoded(up, request)
        reply = answer or Message(code=Code.EMPTY)
        reply.mtype, reply.mid, reply.token = ACK, request.mid, self._token if answer else b""
        self._repeat(up, asked, reply=bytes(reply.encode()))

    def _repeat(self, up: bool, asked: bytes, *, reply: bytes) -> None:
        tap, link = self.line.tap, self.line.link
        moment, timeout = tap.now, ACK_TIMEOUT_S * float(link.rng.uniform(1, _ACK_RANDOM))
        answered, replied = moment, float("inf")  # when a reply passed the tap; when the asker has one
        for _ in range(MAX_RETRANSMIT + 1):
            if moment >= replied:
                break
            lost = link.loses()
            if not lost or link.coin():
                self._datagrams.send(up, asked, at=moment)
            if not lost:
                answered = moment + link.turnaround(up=up)
                self._datagrams.send(not up, reply, at=answered)
                replied = min(replied, answered + link.turnaround(up=not up))
            moment += timeout
            timeout *= 2
        tap.wait_until(max(replied, answered) if replied < float("inf") else moment)
