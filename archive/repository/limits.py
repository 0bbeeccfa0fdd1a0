"""What one sender, and all of them together, may cost the repository. Sizes in bytes, times in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard bounds. The largest memory that senders can hold is ``connections`` times ``message_bytes`` and a read."""

    message_bytes: int = 1_048_576
    """A syslog message; PS3.15 A.6 asks for 32,768 at least."""
    connections: int = 128
    """After their handshake, all senders together."""
    connections_per_source: int = 16
    """After their handshake, from one address."""
    half_open_connections: int = 64
    """Before the end of their handshake; one more costs the source that has most of them its oldest."""
    handshake_seconds: float = 10.0
    """From accept to the end of the TLS handshake."""
    frame_seconds: float = 30.0
    """From the first octet of a frame to its last, however steadily they drip."""
    idle_seconds: float = 3_600.0
    """Between frames: a reporter keeps its connection while it has nothing to tell."""
    read_bytes: int = 262_144
    """Taken from a connection before its messages are kept, with one sync."""
    depth: int = 16
    """Of elements in a message; the schema needs 6 (PS3.15 A.5.1.1)."""
    elements: int = 20_000
    """In one message; a study of thousands of instances may name each."""
