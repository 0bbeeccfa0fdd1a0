"""The results of the conformance suite for several archives, side by side.

python -m tests.simulators.conformance_table NAME=JUNIT.XML...
"""

import sys
from xml.etree import ElementTree

MARKS = {True: "yes", False: "**no**", None: "not asked"}


def results(path: str) -> dict[tuple[str, str], bool | None]:
    """By clause group and test: whether it passed; None where it could not be asked of that archive."""
    found: dict[tuple[str, str], bool | None] = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        group = case.get("classname", "").rpartition(".test_")[2].replace("_", " ")
        name = case.get("name", "").removeprefix("test_").replace("_", " ")
        outcomes = {child.tag for child in case}
        found[group, name] = None if "skipped" in outcomes else outcomes.isdisjoint(("failure", "error"))
    return found


def main(arguments: list[str]) -> None:
    """Print the table: one line for each test, and how many passed."""
    peers = dict(argument.split("=", 1) for argument in arguments)
    told = {name: results(path) for name, path in peers.items()}
    print(f"| Clause group | Test | {' | '.join(told)} |\n|{'---|' * (len(told) + 2)}")
    for group, name in sorted({key for one in told.values() for key in one}):
        marks = [MARKS[one.get((group, name))] for one in told.values()]
        print(f"| {group} | {name} | {' | '.join(marks)} |")
    asked = [[passed for passed in one.values() if passed is not None] for one in told.values()]
    counts = [f"{sum(one)} of {len(one)}" for one in asked]
    print(f"| | passed | {' | '.join(counts)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
