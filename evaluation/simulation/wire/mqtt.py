"""MQTT 3.1.1 sessions, packets encoded by gmqtt."""

import struct
from dataclasses import dataclass

from gmqtt import Message, Subscription
from gmqtt.mqtt.constants import MQTTCommands
from gmqtt.mqtt.package import (
    CommandWithMidPacket,
    LoginPackageFactor,
    PublishPacket,
    SimpleCommandPacket,
    SubscribePacket,
)

from evaluation.simulation.wire.conversation import Line, Stream
from evaluation.simulation.wire.session import lose, thought
from evaluation.simulation.wire.tap import noise

_LEVEL = 4  # protocol level of MQTT 3.1.1


class _Ids:
    """Packet identifiers of one side, as gmqtt's packet makers ask for them."""

    proto_name, proto_ver = b"MQTT", _LEVEL

    def __init__(self) -> None:
        self.id_generator = self
        self._last = 0

    def next_id(self) -> int:
        """Return the next packet identifier."""
        self._last = self._last % 0xFFFF + 1
        return self._last


@dataclass(frozen=True)
class Client:
    """What a device tells a broker about itself, and the topics between them."""

    name: str
    user: str
    topic: str
    keepalive_s: float
    qos: int
    answered: bool  # the platform publishes an answer to every report


class MqttSession:
    """An MQTT client and its broker over one stream, plain or under TLS."""

    def __init__(self, stream: Stream, client: Client) -> None:
        self.line: Line = stream.line
        self._stream, self._client = stream, client
        self._ids = [_Ids(), _Ids()]

    def start(self) -> None:
        """Connect, log in, subscribe to commands."""
        client = self._client
        self._stream.open()
        login = LoginPackageFactor.build_package(
            client.name,
            client.user,
            noise(self.line.link.rng, 8).hex(),
            True,
            int(client.keepalive_s),
            self._ids[True],
        )
        self._ask(bytes(login), _with_id(MQTTCommands.CONNACK, 0))
        wanted = [Subscription(f"{client.topic}/down", qos=1)]
        number, subscribe = SubscribePacket.build_package(wanted, self._ids[True])
        self._ask(bytes(subscribe), _sub_ack(number))

    def report(self, up: int, down: int) -> None:
        """Publish; acknowledged when the firmware asks for it, answered when the platform is of that kind."""
        number, packet = self._published(True, up, qos=self._client.qos)
        if number is None:
            self._stream.send(True, packet)
        else:
            self._ask(packet, _with_id(MQTTCommands.PUBACK, number))
        if down and self._client.answered:
            self._stream.send(False, self._published(False, down, qos=0)[1])

    def command(self, down: int, up: int) -> None:
        """The broker publishes first; the device acknowledges and publishes what it did."""
        number, packet = self._published(False, down, qos=1)
        reaction = float(self.line.link.rng.uniform(0.05, 1.5))
        confirmed = _with_id(MQTTCommands.PUBACK, number or 0)
        self._stream.exchange(False, packet, answer=confirmed, after=0.01)
        self.line.tap.now += reaction
        self.report(up, 0)

    def keep_alive(self) -> None:
        """PINGREQ, PINGRESP."""
        self._ask(_simple(MQTTCommands.PINGREQ), _simple(MQTTCommands.PINGRESP))

    def stop(self) -> None:
        """DISCONNECT, then close."""
        self._stream.send(True, _simple(MQTTCommands.DISCONNECT), acked=False)
        self._stream.close(up=True)

    def lose(self) -> None:
        """A last PINGREQ in vain, or the broker closes."""
        lose(self._stream, _simple(MQTTCommands.PINGREQ))

    def _ask(self, packet: bytes, answer: bytes) -> None:
        self._stream.exchange(True, packet, answer=answer, after=thought(self.line))

    def _published(self, up: bool, size: int, *, qos: int) -> tuple[int | None, bytes]:
        topic = f"{self._client.topic}/{'up' if up else 'down'}"
        payload = noise(self.line.link.rng, max(size - len(topic) - 6, 1))
        number, packet = PublishPacket.build_package(Message(topic, payload, qos=qos), self._ids[up])
        return number, bytes(packet)


def _sub_ack(number: int) -> bytes:
    """SUBACK of one granted QoS 1; gmqtt is a client and has no maker for what only a broker sends."""
    return struct.pack("!BBHB", MQTTCommands.SUBACK, 3, number, 1)


def _with_id(command: MQTTCommands, number: int) -> bytes:
    return bytes(CommandWithMidPacket.build_package(command, number, 0, proto_ver=_LEVEL))


def _simple(command: MQTTCommands) -> bytes:
    return bytes(SimpleCommandPacket.build_package(command))
