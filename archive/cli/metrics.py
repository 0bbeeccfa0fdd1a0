"""``strongroom metrics``: what the running archive has counted at its front door."""

from archive.cli.frame import HomeOption, JsonOption, ask, home_of, print_json, say
from archive.errors import ServerUnreachable


def metrics(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print the server's counters in Prometheus' text format, or as JSON. Nothing of it is served on a network."""
    place = home_of(home)
    from archive.control.lock import held

    if not held(place.lock):
        raise ServerUnreachable("no server runs, so nothing is counted: start one with `strongroom serve`")
    counted = ask(home, "metrics")
    if as_json:
        print_json(counted["samples"])
    else:
        say(counted["text"].rstrip("\n"))
