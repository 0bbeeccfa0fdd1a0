"""``strongroom signature``: the digital signatures inside a DICOM file or a kept object."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archive.cli.frame import (
    CHECK_FAILED,
    HomeOption,
    JsonOption,
    ask,
    home_of,
    note,
    print_json,
    say,
    verbs,
    visible,
)

if TYPE_CHECKING:
    from archive.cli.part10 import DataSetPlace
    from storage.integrity.reading import Chunks
    from storage.integrity.verifier import Trust

app = verbs("Digital signatures in DICOM objects.")
_CHUNK = 1_048_576

PathsOption = list[Path] | None


@app.command("verify")
def verify(
    what: Annotated[str, typer.Argument(metavar="FILE|UID", help="A DICOM file, or a kept object by its UID.")],
    trust: Annotated[
        PathsOption, typer.Option(metavar="PEM", help="Certificates of signers or authorities to trust.")
    ] = None,
    revoked: Annotated[PathsOption, typer.Option(metavar="CRL", help="Revocation lists of these authorities.")] = None,
    timestamp_ca: Annotated[
        Path | None, typer.Option("--timestamp-ca", metavar="PEM", help="Whose certified timestamps count.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every signature, and say what each covers and what not.

    Good: none is broken, and at least one is by a signer that you trust. Whom the settings of a home trust counts too.
    """
    file = Path(what)
    if not file.exists() and _is_uid(what):
        found = ask(home, "signature.verify", sop_instance_uid=what)
    else:
        found = _verified(file, _trust(trust or [], revoked or [], timestamp_ca, home))
    if as_json:
        print_json({name: value for name, value in found.items() if name != "lines"})
    else:
        say(*(visible(line) for line in found["lines"]))
    if not found["good"]:
        raise typer.Exit(CHECK_FAILED)


@app.command("create")
def create(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A DICOM file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Where the signed object goes; nothing is overwritten.")],
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="The signer's key.")] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="PEM", help="The signer's certificate.")] = None,
    profile: Annotated[
        str, typer.Option(help="base, creator, authorization, sr or sr-verification (PS3.15 C.1 to C.4), or none.")
    ] = "base",
    elements: Annotated[
        list[str] | None,
        typer.Option("--element", metavar="TAG", help="Keyword or gggg,eeee; all if none."),
    ] = None,
    item: Annotated[
        str, typer.Option(metavar="PATH", help="Sign an item, like ContentSequence[0].ConceptNameCodeSequence[0].")
    ] = "",
    algorithm: Annotated[str, typer.Option(help="SHA256, SHA384 or SHA512.")] = "SHA256",
    purpose: Annotated[str, typer.Option(metavar="CODE", help="1 to 18, of CID 7007.")] = "",
    local: Annotated[str, typer.Option("--as", metavar="NAME", help="As [[signature]] NAME says.")] = "",
    timestamp: Annotated[
        bool, typer.Option("--timestamp", help="Have it stamped by the authority of trail.timestamp_url.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Sign a file; what is in it stays as it is, byte by byte."""
    from archive.cli.signing import Choice, signed_file

    choice = Choice(profile, tuple(elements or ()), item, algorithm, purpose, key, certificate, local, timestamp)
    made = signed_file(file, out, choice, home_of(home) if home is not None else None)
    note(f"{out}: signature {made.uid} over {len(made.signed_tags)} elements")


def _verified(file: Path, trust: "Trust") -> dict[str, object]:
    from archive.cli.part10 import locate
    from archive.signatures.wording import summary
    from storage.integrity.verifier import verify_signatures
    from storage.transfer_syntax import transfer_syntax

    place = locate(file)
    return summary(verify_signatures(chunks_of(file, place), transfer_syntax(place.transfer_syntax), trust))


def chunks_of(file: Path, place: "DataSetPlace") -> "Chunks":
    """The data set of a file, to be read any number of times."""

    def chunks() -> Iterator[bytes]:
        with file.open("rb") as stream:
            stream.seek(place.offset)
            while data := stream.read(_CHUNK):
                yield data

    return chunks


def _is_uid(text: str) -> bool:
    from storage.errors import InvalidIdentifier
    from storage.identifiers import uid

    with suppress(InvalidIdentifier):
        return bool(uid(text))
    return False


def _trust(paths: list[Path], lists: list[Path], timestamp_ca: Path | None, home: Path | None) -> "Trust":
    """Whom a home trusts, where one is named, and what the operator trusts beside that."""
    from dataclasses import replace

    from archive.settings import load_settings
    from archive.signatures.trusting import revocations, stamp_verifier, trust_of
    from archive.signing_keys import own_signers
    from auth.node.pem import read_certificates
    from storage.integrity.verifier import Trust

    known = Trust()
    if home is not None:
        place = home_of(home)
        settings = load_settings(place.settings)
        known = trust_of(place, settings, own_signers(place, settings))
    return replace(
        known,
        authorities=(*known.authorities, *(one for path in paths for one in read_certificates(path))),
        revocations=(*known.revocations, *revocations(lists)),
        stamps=stamp_verifier(timestamp_ca) if timestamp_ca is not None else known.stamps,
    )
