"""Every bound of the front door, named, with its unit and default. Crossing one is an error with this name in it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer, and all of them, may cost. Settings section ``[limits]``, same names."""

    half_open_connections: int = 1024
    """Connections before the end of their TLS handshake, in all; when full, the oldest of the largest source goes."""
    half_open_per_source: int = 512
    """The same from one source (an IPv4 address, or the /64 of an IPv6 address); when full, its own oldest goes."""
    associating_connections: int = 512
    """Connections without an answered association request, in all; when full, as above."""
    associating_per_source: int = 256
    """The same from one source."""
    associations: int = 512
    """Established associations, in all; one more is A-ASSOCIATE-RJ, transient, local limit exceeded (2, 3, 2)."""
    associations_per_source: int = 256
    """The same from one source."""
    penalty_failures: int = 20
    """A source with so many failures within ``penalty_seconds`` is penalised: it has less time and goes first."""
    penalty_seconds: float = 60.0
    """Within which failures count together, and after which they are forgotten."""
    penalty_deadline_seconds: float = 3.0
    """What takes the place of ``handshake_seconds`` and ``associate_seconds`` for a penalised source."""
    handshake_seconds: float = 10.0
    """From accept to the end of the TLS handshake."""
    associate_seconds: float = 15.0
    """From the end of the handshake to a complete A-ASSOCIATE-RQ (the ARTIM timer of PS3.8 9.1.5)."""
    pdu_seconds: float = 60.0
    """From the first byte of a PDU to its last, and between two PDUs of one message."""
    idle_seconds: float = 900.0
    """Between two messages of an established association."""
    connect_seconds: float = 10.0
    """For a node that we connect to (a C-MOVE destination, a commitment's requestor) to take the connection."""
    answer_seconds: float = 120.0
    """For such a node to answer a request of ours."""
    close_seconds: float = 5.0
    """For the peer to close the connection after a release, a rejection or an abort (ARTIM again)."""
    send_seconds: float = 60.0
    """For the peer to take what is sent to it."""
    least_bytes_per_second: int = 512
    """What a peer has to send, or to take, on average of the time that we wait for it within a message."""
    rate_seconds: float = 20.0
    """The waiting time over which that average is taken."""
    associate_pdu_bytes: int = 262_144
    """A-ASSOCIATE-RQ, without its six-byte header."""
    pdu_bytes: int = 131_072
    """P-DATA-TF, without its six-byte header; also the maximum length we announce (PS3.8 D.1)."""
    smallest_peer_pdu_bytes: int = 128
    """A requestor that takes less than this is aborted: headers would outweigh what they carry."""
    presentation_contexts: int = 128
    """In one A-ASSOCIATE-RQ (PS3.8 9.3.2.2: odd numbers of one byte)."""
    items: int = 16_384
    """Items and sub-items in one A-ASSOCIATE-RQ."""
    command_bytes: int = 16_384
    """One command set."""
    identifier_bytes: int = 1_048_576
    """One query or retrieve identifier."""
    data_set_bytes: int = 17_179_869_184
    """One stored data set, as received."""
    data_set_elements: int = 4_000_000
    """Elements, items and fragments of one stored data set, at all levels."""
    data_set_depth: int = 128
    """Sequences within one another in a stored data set."""
    inflated_bytes: int = 16_777_216
    """What a deflated data set may grow to whatever its size."""
    inflation_ratio: int = 256
    """Bytes that it may grow to beyond that, per byte received."""
    tokenizer_seconds: float = 30.0
    """Processor time that reading the elements of one stored data set may take; large values do not count."""
