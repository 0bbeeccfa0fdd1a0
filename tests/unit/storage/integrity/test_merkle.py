"""The tree over the ledger's records, against RFC 6962's own definitions and against a verifier that knows no tree."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.evidence import check
from storage.integrity.merkle import MerkleTree, leaf, ledger_lines

# The roots over the first n of eight inputs that the Certificate Transparency test vectors use.
INPUTS = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "60" * 16)]


def by_definition(lines):
    """RFC 6962 2.1, word for word."""
    if not lines:
        return sha256(b"").digest()
    if len(lines) == 1:
        return sha256(b"\0" + lines[0]).digest()
    half = 1
    while half * 2 < len(lines):
        half *= 2
    return sha256(b"\1" + by_definition(lines[:half]) + by_definition(lines[half:])).digest()


def test_roots_known_from_certificate_transparency():
    tree = MerkleTree(map(leaf, INPUTS))
    assert tree.root(0).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tree.root(1).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert tree.root(2).hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"


@given(st.integers(1, 80), st.data())
def test_every_proof_holds_and_no_other_record_fits_it(size, data):
    lines = [b"record %d" % number for number in range(size)]
    tree = MerkleTree(map(leaf, lines))
    part = data.draw(st.integers(1, size))
    assert tree.root(part) == by_definition(lines[:part])
    index = data.draw(st.integers(0, part - 1))
    proof = tree.inclusion(index, part)
    assert check.root_of(leaf(lines[index]), index, part, proof) == tree.root(part)
    assert check.root_of(leaf(b"another"), index, part, proof) != tree.root(part)
    other = data.draw(st.integers(0, part - 1))
    if other != index:
        with pytest.raises(check.Wrong):
            if check.root_of(leaf(lines[index]), other, part, proof) != tree.root(part):
                raise check.Wrong("another place")
    later = data.draw(st.integers(part, size))
    between = tree.consistency(part, later)
    check.consistent(part, tree.root(part), later, tree.root(later), between)
    with pytest.raises(check.Wrong):
        check.consistent(part, by_definition([b"x", *lines[1:part]]), later, tree.root(later), between)


def test_lines_are_read_in_order_and_a_torn_one_is_not(tmp_path):
    (tmp_path / f"{1:016d}.jsonl").write_bytes(b"one\ntwo\n")
    (tmp_path / f"{3:016d}.jsonl").write_bytes(b"three\nfou")
    (tmp_path / "notes.jsonl").write_bytes(b"x\n")
    assert list(ledger_lines(tmp_path)) == [b"one", b"two", b"three"]
