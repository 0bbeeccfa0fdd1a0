"""The results of the conformance suite for several archives, side by side.

python -m tests.simulators.conformance_table NAME=JUNIT.XML...
"""

import sys
from xml.etree import ElementTree


def results(path: str) -> dict[tuple[str, str], bool]:
    """By clause group and test: whether it passed."""
    found = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        group = case.get("classname", "").rpartition(".test_")[2].replace("_", " ")
        name = case.get("name", "").removeprefix("test_").replace("_", " ")
        found[group, name] = not any(child.tag in ("failure", "error") for child in case)
    return found


def main(arguments: list[str]) -> None:
    """Print the table: one line for each test, and how many passed."""
    peers = dict(argument.split("=", 1) for argument in arguments)
    told = {name: results(path) for name, path in peers.items()}
    print(f"| Clause group | Test | {' | '.join(told)} |\n|{'---|' * (len(told) + 2)}")
    for group, name in sorted({key for one in told.values() for key in one}):
        marks = ["yes" if one.get((group, name)) else "**no**" for one in told.values()]
        print(f"| {group} | {name} | {' | '.join(marks)} |")
    counts = [f"{sum(one.values())} of {len(one)}" for one in told.values()]
    print(f"| | passed | {' | '.join(counts)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
