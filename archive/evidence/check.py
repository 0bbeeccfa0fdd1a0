#!/usr/bin/env python3
"""Check what `strongroom evidence` wrote, without Strongroom: Python's own library, and the openssl command.

    python3 check.py EVIDENCE.json --ca ca.pem [--timestamp-ca tsa.pem] [--objects DIR] [--earlier CHECKPOINT]

ca.pem should come from elsewhere than the evidence: whoever makes up the one can make up the other. What is checked:

1. the ledger checkpoint is signed by a signer that leads to ca.pem, and its certified timestamp holds;
2. each object's ledger record is among the records that the checkpoint counts (RFC 6962 2.1.1);
3. each record names the object, and is committed to the digests that the evidence gives, under its salt;
4. files of DIR are those objects, byte by byte as they left the archive and, where their VRs are explicit, element by
   element by the digest that the record is committed to;
5. an earlier checkpoint is the beginning of this one (RFC 6962 2.1.2).

Digital signatures inside objects are for `dcmsign --verify`. This file shares no code with the archive.
"""

import argparse
import base64
import hashlib
import hmac
import json
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
WORDS = dict.fromkeys((b"US", b"SS", b"OW", b"AT"), 2)
WORDS |= dict.fromkeys((b"UL", b"SL", b"FL", b"OF", b"OL"), 4) | dict.fromkeys((b"FD", b"OD", b"SV", b"UV", b"OV"), 8)
LEFT_OUT = {0x4FFE0001, 0xFFFAFFFA, 0xFFFCFFFC}
ENDLESS = 0xFFFFFFFF
IMPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


Fields = dict[str, Any]
Put = Callable[[bytes], object]


class Wrong(Exception):
    """Something is not as it should be."""


# --- the tree (RFC 6962) ---


def leaf(line: bytes) -> bytes:
    return hashlib.sha256(b"\0" + line).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(found: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        raise Wrong("a record is not among those that the checkpoint counts")
    last = size - 1
    for step in proof:
        if last == 0:
            raise Wrong("a proof is too long")
        if index & 1 or index == last:
            found = node(step, found)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            found = node(found, step)
        index, last = index >> 1, last >> 1
    if last:
        raise Wrong("a proof is too short")
    return found


def consistent(first: int, old: bytes, second: int, new: bytes, proof: list[bytes]) -> None:
    """Whether the tree of ``first`` records begins that of ``second`` (RFC 9162 2.1.4.2)."""
    if not 0 < first <= second:
        raise Wrong("the earlier checkpoint counts more records than the later one")
    if first == second:
        if proof or old != new:
            raise Wrong("two checkpoints of as many records differ")
        return
    steps = list(proof)
    if first & (first - 1) == 0:
        steps.insert(0, old)
    if not steps:
        raise Wrong("a proof is too short")
    index, last = first - 1, second - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise Wrong("a proof is too long")
        if index & 1 or index == last:
            before, after = node(step, before), node(step, after)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            after = node(after, step)
        index, last = index >> 1, last >> 1
    if last or before != old or after != new:
        raise Wrong("the earlier checkpoint is not the beginning of this one")


# --- statements and stamps (openssl) ---


def openssl(*words: object) -> bool:
    return subprocess.run(["openssl", *map(str, words)], capture_output=True, check=False, timeout=60).returncode == 0


def signed_fields(line: str, evidence: Fields, ca: Path, folder: Path) -> Fields:
    """The fields of a signed checkpoint (docs/on-disk-format.md, Statements)."""
    said: Fields = json.loads(line)
    body, _, rest = line.rpartition(',"signature":"')
    if said.get("format") != "strongroom ledger-checkpoint 1" or not rest.endswith('"}'):
        raise Wrong("the checkpoint is none")
    signer = next((pem for pem in evidence["signers"] if _fingerprint(pem, folder) == said["signer"]), None)
    if signer is None:
        raise Wrong("the checkpoint's signer is not in the evidence")
    certificate, chain, public = folder / "signer.pem", folder / "chain.pem", folder / "public.pem"
    certificate.write_text(signer)
    chain.write_text(evidence["authority"])
    if not openssl("verify", "-partial_chain", "-no_check_time", "-CAfile", ca, "-untrusted", chain, certificate):
        raise Wrong("the checkpoint's signer does not lead to the authority that you trust")
    if not openssl("x509", "-in", certificate, "-pubkey", "-noout", "-out", public):
        raise Wrong("the signer's certificate cannot be read")
    (folder / "body").write_text(body)
    (folder / "signature").write_bytes(base64.b64decode(rest[:-2], validate=True))
    if not openssl("dgst", "-sha256", "-verify", public, "-signature", folder / "signature", folder / "body"):
        raise Wrong("the checkpoint is not what was signed")
    return said


def _fingerprint(pem: str, folder: Path) -> str:
    (folder / "one.pem").write_text(pem)
    openssl("x509", "-in", folder / "one.pem", "-outform", "DER", "-out", folder / "one.der")
    return hashlib.sha256((folder / "one.der").read_bytes()).hexdigest()


def check_stamp(line: str, token: str, ca: Path, folder: Path) -> None:
    (folder / "line").write_text(line)
    (folder / "token").write_bytes(base64.b64decode(token, validate=True))
    names = ("-data", folder / "line", "-in", folder / "token", "-token_in", "-CAfile", ca)
    if not openssl("ts", "-verify", *names):
        raise Wrong("the checkpoint's timestamp does not hold")


# --- objects ---


def check_record(one: Fields, root: bytes, size: int) -> None:
    """The ledger record of one object, and that it is committed to the object's digests."""
    line = one["record"].encode("ascii")
    if root_of(leaf(line), one["index"], size, [bytes.fromhex(step) for step in one["proof"]]) != root:
        raise Wrong("its ledger record is not among those that the checkpoint counts")
    record = json.loads(line)
    facts = record["facts"]
    if record["event"] != "stored" or record["seq"] != one["index"] + 1:
        raise Wrong("its ledger record is another event's")
    for name in ("sop_instance_uid", "series_uid", "study_uid", "sop_class_uid", "transfer_syntax"):
        if facts[name] != one[name]:
            raise Wrong(f"its ledger record has another {name}")
    if facts["address"] != one["received_digest"]:
        raise Wrong("its ledger record has another address")
    digests = bytes.fromhex(one["canonical_digest"]) + bytes.fromhex(one["received_digest"])
    if hmac.digest(bytes.fromhex(one["salt"]), digests, "sha256").hex() != facts["commitment"]:
        raise Wrong("its ledger record is committed to another content")


def check_file(path: Path, one: Fields) -> None:
    """A DICOM file against what the evidence says of it."""
    data = data_set_of(path.read_bytes())
    if hashlib.sha256(data).hexdigest() != one["sha256"]:
        raise Wrong("the file is not what left the archive")
    if one["transfer_syntax"] != IMPLICIT and canonical_digest(data, one["transfer_syntax"]) != one["canonical_digest"]:
        raise Wrong("the file's elements are not those that the ledger is committed to")


def data_set_of(file: bytes) -> bytes:
    """What follows the File Meta Information (PS3.10 7.1)."""
    if file[128:132] != b"DICM":
        return file
    at = 132
    while file[at : at + 2] == b"\x02\0":
        long = file[at + 4 : at + 6] in LONG
        length = struct.unpack_from("<I" if long else "<H", file, at + 8 if long else at + 6)[0]
        at += (12 if long else 8) + length
    return file[at:]


def canonical_digest(data: bytes, syntax: str) -> str:
    """The canonical digest of a data set with explicit VRs (docs/on-disk-format.md)."""
    if syntax == DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data)
    digest = hashlib.sha256()
    _elements(data, 0, len(data), ">" if syntax == BIG else "<", True, 0, digest.update)
    return digest.hexdigest()


def _elements(data: bytes, at: int, end: int, order: str, explicit: bool, depth: int, put: Put) -> int:
    """Tell every element up to ``end``, or up to an item delimiter; where that was."""
    while at < end:
        group, element = struct.unpack_from(order + "HH", data, at)
        tag, vr = group << 16 | element, data[at + 4 : at + 6] if explicit else b""
        if tag == 0xFFFEE00D:
            return at + 8
        if not explicit:
            (length,), value = struct.unpack_from(order + "I", data, at + 4), at + 8
        elif vr in LONG:
            (length,), value = struct.unpack_from(order + "I", data, at + 8), at + 12
        else:
            (length,), value = struct.unpack_from(order + "H", data, at + 6), at + 8
        tell = _nobody if tag in LEFT_OUT and not depth else put
        if tag == 0x7FE00010 and length == ENDLESS:
            at = _fragments(data, value, order, tag, tell)
        elif vr == b"SQ" or length == ENDLESS:
            inside = (order, explicit) if vr in (b"SQ", b"") else ("<", False)
            at = _items(data, value, end if length == ENDLESS else value + length, inside, tag, depth + 1, tell)
        else:
            at = value + length
            if element:
                tell(struct.pack("<HHI", group, element, length) + _swapped(data[value:at], vr, order))
    return at


def _nobody(_: bytes) -> None:
    """Takes what is left out."""


def _items(data: bytes, at: int, end: int, inside: tuple[str, bool], tag: int, depth: int, put: Put) -> int:
    order, explicit = inside
    put(struct.pack("<HHI", tag >> 16, tag & 0xFFFF, ENDLESS))
    while at < end:
        group, element, length = struct.unpack_from(order + "HHI", data, at)
        at += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        put(struct.pack("<HHI", 0xFFFE, 0xE000, ENDLESS))
        at = _elements(data, at, end if length == ENDLESS else at + length, order, explicit, depth, put)
        put(struct.pack("<HHI", 0xFFFE, 0xE00D, 0))
    put(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    return at


def _fragments(data: bytes, at: int, order: str, tag: int, put: Put) -> int:
    put(struct.pack("<HHI", tag >> 16, tag & 0xFFFF, ENDLESS))
    while True:
        _, element, length = struct.unpack_from(order + "HHI", data, at)
        at += 8 + length
        if element == 0xE0DD:
            put(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
            return at
        put(struct.pack("<HHI", 0xFFFE, 0xE000, length) + data[at - length : at])


def _swapped(value: bytes, vr: bytes, order: str) -> bytes:
    word = WORDS.get(vr, 1)
    if order == "<" or word == 1:
        return value
    whole = len(value) - len(value) % word
    return b"".join(value[at : at + word][::-1] for at in range(0, whole, word)) + value[whole:]


def instance_of(file: bytes) -> str:
    """Media Storage SOP Instance UID (0002,0003); empty without meta information."""
    at = file.find(b"\x02\0\x03\0UI", 132, 4096)
    if file[128:132] != b"DICM" or at < 0:
        return ""
    length = struct.unpack_from("<H", file, at + 6)[0]
    return file[at + 8 : at + 8 + length].rstrip(b"\0 ").decode("ascii", "replace")


# --- all of it ---


def check(evidence: Fields, ca: Path, timestamp_ca: Path | None, objects: Path | None, earlier: str) -> list[str]:
    """What holds, in words. Raises `Wrong`, naming what does not."""
    told = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if evidence.get("format") != "strongroom evidence 1":
            raise Wrong("this is no evidence that this script reads")
        said = signed_fields(evidence["checkpoint"], evidence, ca, folder)
        size, root = said["size"], bytes.fromhex(said["root"])
        told.append(f"checkpoint of {size} ledger records, signed {said['time']}")
        if evidence.get("timestamp") and timestamp_ca:
            check_stamp(evidence["checkpoint"], evidence["timestamp"], timestamp_ca, folder)
            told.append("its timestamp holds")
        elif evidence.get("timestamp"):
            told.append("its timestamp was NOT checked: name --timestamp-ca")
        if earlier:
            before = signed_fields(earlier, evidence, ca, folder)
            proof = [bytes.fromhex(step) for step in evidence["consistency"]["proof"]]
            if evidence["consistency"]["checkpoint"] != earlier:
                raise Wrong("the evidence was made against another earlier checkpoint")
            consistent(before["size"], bytes.fromhex(before["root"]), size, root, proof)
            told.append(f"the checkpoint of {before['size']} records is its beginning")
    for one in evidence["objects"]:
        try:
            check_record(one, root, size)
        except Wrong as error:
            raise Wrong(f"{one['sop_instance_uid']}: {error}") from None
    told.append(f"{len(evidence['objects'])} objects are in the ledger as the evidence says")
    told.append(_files(evidence, objects) if objects else "files were NOT checked: name --objects")
    return told


def _files(evidence: Fields, objects: Path) -> str:
    known = {one["sop_instance_uid"]: one for one in evidence["objects"]}
    seen, elements = set(), 0
    for path in sorted(path for path in objects.rglob("*") if path.is_file()):
        uid = instance_of(path.read_bytes())
        if uid not in known:
            raise Wrong(f"{path}: the evidence says nothing of it")
        try:
            check_file(path, known[uid])
        except Wrong as error:
            raise Wrong(f"{path}: {error}") from None
        seen.add(uid)
        elements += known[uid]["transfer_syntax"] != IMPLICIT
    words = f"{len(seen)} files are what left the archive, {elements} of them checked element by element"
    return words + (f"; {len(known) - len(seen)} objects have no file here" if len(seen) < len(known) else "")


def main() -> int:
    """Exit 0: it holds; 1: it does not."""
    parser = argparse.ArgumentParser(description="Check the evidence of a study without Strongroom.")
    parser.add_argument("evidence", type=Path)
    parser.add_argument("--ca", type=Path, required=True, help="PEM: the archive's authority, from elsewhere")
    parser.add_argument("--timestamp-ca", type=Path, help="PEM: the time stamping authority's")
    parser.add_argument("--objects", type=Path, help="folder of DICOM files")
    parser.add_argument("--earlier", type=Path, help="file whose last line is an earlier checkpoint")
    chosen = parser.parse_args()
    earlier = chosen.earlier.read_text().strip().splitlines()[-1] if chosen.earlier else ""
    try:
        evidence = json.loads(chosen.evidence.read_text("ascii"))
        told = check(evidence, chosen.ca, chosen.timestamp_ca, chosen.objects, earlier)
    except Wrong as error:
        sys.stdout.write(f"WRONG: {error}\n")
        return 1
    except (OSError, ValueError, KeyError, TypeError, struct.error, zlib.error) as error:
        sys.stdout.write(f"WRONG: it cannot be read ({type(error).__name__}: {error})\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
