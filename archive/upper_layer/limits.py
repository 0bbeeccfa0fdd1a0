"""Every bound of the front door, named, with its unit and default. Crossing one is an error with this name in it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer, and all of them, may cost. Settings section ``[limits]``, same names."""

    half_open_connections: int = 256
    """Connections without an association, in all; when full, the oldest of the largest source is closed."""
    associations: int = 256
    """Established associations, in all; one more is A-ASSOCIATE-RJ, transient, local limit exceeded (2, 3, 2)."""
    handshake_seconds: float = 10.0
    """From accept to the end of the TLS handshake."""
    associate_seconds: float = 15.0
    """From the end of the handshake to a complete A-ASSOCIATE-RQ (the ARTIM timer of PS3.8 9.1.5)."""
    pdu_seconds: float = 60.0
    """From the first byte of a PDU to its last."""
    idle_seconds: float = 900.0
    """Between two messages of an established association."""
    close_seconds: float = 5.0
    """For the peer to close the connection after a release, a rejection or an abort (ARTIM again)."""
    send_seconds: float = 60.0
    """For the peer to take what is sent to it."""
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
