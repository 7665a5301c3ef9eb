"""A camera's side: RTSP recording, GB/T 28181 (SIP and RTP), upload over HTTPS."""

import dpkt

from evaluation.simulation.wire.conversation import Datagrams, Line, Stream
from evaluation.simulation.wire.session import thought
from evaluation.simulation.wire.tap import noise

_H264_CLOCK_HZ = 90_000  # RFC 6184
_PAYLOAD_TYPE = 96  # first dynamic type, RFC 3551


class RtpSource:
    """Numbers the RTP packets of one stream."""

    def __init__(self, line: Line) -> None:
        rng = line.link.rng
        self._rng, self._number = rng, int(rng.integers(2**16))
        self._source, self._start = int(rng.integers(2**32)), int(rng.integers(2**31))

    def packet(self, size: int, at: float) -> bytes:
        """Return an RTP packet of `size` bytes stamped with the media clock."""
        self._number = (self._number + 1) & 0xFFFF
        stamp = (self._start + round(at * _H264_CLOCK_HZ)) & 0xFFFFFFFF
        rtp = dpkt.rtp.RTP(
            seq=self._number, ts=stamp, ssrc=self._source, data=noise(self._rng, max(size - 12, 1))
        )
        rtp.pt = _PAYLOAD_TYPE
        return bytes(rtp)


class RtspRecording:
    """RTSP over TCP (RFC 2326): the camera announces, records, and interleaves RTP in the same connection."""

    def __init__(self, stream: Stream, host: str) -> None:
        self.line: Line = stream.line
        self._stream, self._host, self._number = stream, host, 0

    def start(self) -> None:
        """OPTIONS, ANNOUNCE, SETUP, RECORD."""
        self._stream.open()
        description = f"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=live\r\nm=video 0 RTP/AVP {_PAYLOAD_TYPE}\r\n"
        self._ask("OPTIONS")
        self._ask("ANNOUNCE", description.encode())
        self._ask("SETUP")
        self._ask("RECORD")

    def media(self, packet: bytes) -> None:
        """Send one RTP packet on channel 0 (RFC 2326 section 10.12)."""
        self._stream.send(True, b"$\0" + len(packet).to_bytes(2) + packet)

    def keep_alive(self) -> None:
        """OPTIONS."""
        self._ask("OPTIONS")

    def stop(self) -> None:
        """TEARDOWN, then close."""
        self._ask("TEARDOWN")
        self._stream.close(up=True)

    def _ask(self, method: str, body: bytes = b"") -> None:
        self._number += 1
        headers = {"CSeq": str(self._number), "User-Agent": "camera/2.1"}
        if body:
            headers |= {"Content-Type": "application/sdp", "Content-Length": str(len(body))}
        uri = f"rtsp://{self._host}/live"
        ask = dpkt.http.Request(method=method, uri=uri, version="1.0", headers=headers, body=body)
        told = {"CSeq": str(self._number), "Session": "8a31c0de"}
        answer = dpkt.http.Response(version="1.0", status="200", reason="OK", headers=told)
        self._stream.exchange(True, _as_rtsp(ask), answer=_as_rtsp(answer), after=thought(self.line))


class SipCamera:
    """GB/T 28181: the camera registers with a SIP server, which invites it to send RTP."""

    def __init__(self, datagrams: Datagrams, *, camera: str, server: str) -> None:
        self.line: Line = datagrams.line
        self._datagrams, self._camera, self._server, self._number = datagrams, camera, server, 0

    def start(self) -> None:
        """Register twice: the first try is refused for want of credentials."""
        self._ask(True, "REGISTER", status="401")
        self._ask(True, "REGISTER")

    def keep_alive(self) -> None:
        """MESSAGE with a keep-alive notice (GB/T 28181 annex J)."""
        notice = b"<Notify><CmdType>Keepalive</CmdType><SN>43</SN><Status>OK</Status></Notify>\r\n"
        self._ask(True, "MESSAGE", body=notice)

    def invite(self, port: int) -> None:
        """The server asks for a stream to its `port`; the camera agrees."""
        self._ask(
            False, "INVITE", body=f"v=0\r\ns=Play\r\nm=video {port} RTP/AVP {_PAYLOAD_TYPE}\r\n".encode()
        )
        self._say(False, self._request("ACK", b""))

    def stop(self) -> None:
        """The server ends the stream."""
        self._ask(False, "BYE")

    def _ask(self, up: bool, method: str, *, status: str = "200", body: bytes = b"") -> None:
        tap, link = self.line.tap, self.line.link
        self._number += 1
        self._say(up, self._request(method, body))
        tap.now += link.turnaround(up=up) + thought(self.line)
        reason = "OK" if status == "200" else "Unauthorized"
        answer = dpkt.sip.Response(status=status, reason=reason, headers=self._headers(method, b""))
        self._say(not up, answer)
        tap.now += link.turnaround(up=not up)

    def _say(self, up: bool, message: dpkt.http.Message) -> None:
        self._datagrams.send(up, bytes(message), at=self.line.tap.now)

    def _request(self, method: str, body: bytes) -> dpkt.sip.Request:
        uri = f"sip:{self._server}@3402000000"
        return dpkt.sip.Request(method=method, uri=uri, headers=self._headers(method, body), body=body)

    def _headers(self, method: str, body: bytes) -> dict[str, str]:
        return {
            "Via": f"SIP/2.0/UDP 0.0.0.0:5060;rport;branch=z9hG4bK{self._number:08d}",
            "From": f"<sip:{self._camera}@3402000000>;tag={self._number:06d}",
            "To": f"<sip:{self._server}@3402000000>",
            "Call-ID": f"{self._camera}{self._number:06d}",
            "CSeq": f"{self._number} {method}",
            "Max-Forwards": "70",
            "Content-Length": str(len(body)),
        }


def _as_rtsp(message: dpkt.http.Message) -> bytes:
    """RTSP messages are HTTP messages under another name (RFC 2326 section 4)."""
    return bytes(message).replace(b"HTTP/1.0", b"RTSP/1.0", 1)
