"""``strongroom conformance``: the DICOM conformance statement of this home's configuration."""

from archive.cli.frame import HomeOption, home_of, say


def conformance(home: HomeOption = None) -> None:
    """Print the DICOM conformance statement (PS3.2), generated from the configuration, as Markdown.

    It names no node, no person and no host, and can be handed to a vendor.
    """
    place = home_of(home)
    from archive.conformance.statement import statement
    from archive.settings import load_settings

    say(statement(load_settings(place.settings)).rstrip("\n"))
