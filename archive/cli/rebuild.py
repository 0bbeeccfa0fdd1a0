"""``strongroom rebuild``: the index made anew from objects and ledger."""

from archive.cli.frame import HomeOption, JsonOption, home_of, print_json, say


def rebuild(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Make the index anew. Studies, series, instances and labels come from ledger and objects, every byte checked.

    No server may run meanwhile. An index that cannot even be opened is set aside, and stays there for you to look at.
    """
    place = home_of(home)
    from archive.audit.events import Alert
    from archive.control.lock import HomeLock
    from archive.control.operator import Operator
    from archive.logs import configure_log
    from archive.rebuilding import rebuilt

    configure_log("warning")
    with HomeLock(place.lock), rebuilt(place) as (archive, outcome):
        words = f"index rebuilt from {outcome.events} events"
        facts = {"change": "index-rebuilt", "events": outcome.events}
        archive.tell("authority", facts, Operator.this().actor, words, Alert.SOFTWARE_CONFIGURATION)
    if as_json:
        print_json({"events": outcome.events, "set_aside": str(outcome.set_aside) if outcome.set_aside else None})
        return
    say(words)
    if outcome.set_aside:
        say(f"the damaged index is in {outcome.set_aside}: remove it once you have looked")
