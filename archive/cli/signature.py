"""``strongroom signature``: the digital signatures inside a DICOM file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archive.cli.frame import CHECK_FAILED, HomeOption, JsonOption, home_of, print_json, say, verbs, visible

if TYPE_CHECKING:
    from storage.integrity.verifier import SignatureReport, Trust

app = verbs("Digital signatures in DICOM files.")
_CHUNK = 1_048_576


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A DICOM file.")],
    trust: Annotated[
        list[Path] | None, typer.Option(metavar="PEM", help="Certificates of signers or authorities to trust.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every signature in a file. Good: none is broken, and at least one is by a signer that you trust."""
    from archive.cli.part10 import locate
    from storage.integrity.verifier import SignerTrust, verify_signatures
    from storage.transfer_syntax import transfer_syntax

    place = locate(file)

    def chunks() -> Iterator[bytes]:
        with file.open("rb") as stream:
            stream.seek(place.offset)
            while data := stream.read(_CHUNK):
                yield data

    reports = verify_signatures(chunks, transfer_syntax(place.transfer_syntax), _trust(trust or [], home))
    broken = [report for report in reports if not report.valid]
    known = [report for report in reports if report.valid and report.trust is not SignerTrust.UNKNOWN]
    good = bool(known) and not broken
    if as_json:
        print_json({"good": good, "signatures": [_described(report) for report in reports]})
    else:
        say(*(visible(_line(report)) for report in reports))
        say(_verdict(good, len(reports), len(broken)))
    if not good:
        raise typer.Exit(CHECK_FAILED)


def _trust(paths: list[Path], home: Path | None) -> "Trust":
    """The archive's own signer, where a home is named, and what the operator trusts beside it."""
    from hashlib import sha256

    from archive.settings import load_settings
    from auth.node.authority import load
    from auth.node.pem import read_certificates
    from storage.integrity.verifier import Trust

    own: frozenset[bytes] = frozenset()
    if home is not None:
        place = home_of(home)
        authority = load(place.inside(load_settings(place.settings).keys.authority))
        own = frozenset({sha256(authority.signer_certificate).digest()})
    return Trust(own, tuple(certificate for path in paths for certificate in read_certificates(path)))


def _described(report: "SignatureReport") -> dict[str, Any]:
    return {
        "uid": report.uid,
        "path": [list(step) for step in report.path],
        "signer": report.signer,
        "trust": report.trust.value,
        "valid": report.valid,
        "reason": report.reason,
        "mac_algorithm": report.mac_algorithm,
        "weak": report.weak,
        "elements": len(report.signed_tags),
        "uncovered": [{"tag": f"{it.tag:08x}", "reason": it.reason} for it in report.uncovered],
    }


def _line(report: "SignatureReport") -> str:
    state = "valid" if report.valid else f"BROKEN ({report.reason})"
    weak = ", weak digest" if report.weak else ""
    uncovered = f", {len(report.uncovered)} not covered" if report.uncovered else ""
    return (
        f"{state}: {report.signer} ({report.trust.value}), {report.mac_algorithm}{weak}, "
        f"{len(report.signed_tags)} elements{uncovered}"
    )


def _verdict(good: bool, count: int, broken: int) -> str:
    if good:
        return "good: signed by a signer you trust, and unaltered since"
    if not count:
        return "not signed"
    return f"{broken} of {count} signatures are broken" if broken else "no signature is by a signer you trust"
