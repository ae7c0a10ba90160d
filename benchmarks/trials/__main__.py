"""Tries hostile and unlucky inputs on the project, and prints what happens, by kind.

    python -m benchmarks.trials [--quick]

Every trial is a test with the mark `trial`: the quick ones stand beside the module that they try, in tests/; those that
need a process of their own stand in benchmarks/trials. The table is that of docs/reliability.md. The command ends with
status 1 if a trial ends badly.
"""

import argparse
import collections
import sys

import pytest

from benchmarks.trials.kinds import KINDS


class Count:
    """A plugin of pytest: the trials that passed, failed and were skipped, by kind."""

    def __init__(self):
        self.outcomes = collections.defaultdict(collections.Counter)

    def pytest_runtest_logreport(self, report):
        # A trial passes in its call; it may fail or be skipped before.
        if report.when == "call" or report.outcome != "passed":
            for name, kind in report.user_properties:
                if name == "trial":
                    self.outcomes[kind][report.outcome] += 1


def table(outcomes):
    """The lines of the table, for Markdown."""
    yield "| kind | what is tried | inputs | what happens |"
    yield "|---|---|---|---|"
    for kind, (tried, happens) in KINDS.items():
        counts = outcomes[kind]
        others = "".join(f", {counts[name]} {name}" for name in ("failed", "skipped") if counts[name])
        yield f"| {kind} | {tried} | {counts['passed']}{others} | {happens} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the trials that need a process of their own")
    options = parser.parse_args()
    count = Count()
    places = ["tests"] if options.quick else ["tests", "benchmarks/trials"]
    status = pytest.main([*places, "-m", "trial", "-p", "no:cacheprovider"], plugins=[count])
    print("\n".join(table(count.outcomes)))
    if unknown := set(count.outcomes) - set(KINDS):
        sys.exit(f"kinds without a line in benchmarks/trials/kinds.py: {', '.join(sorted(unknown))}")
    sys.exit(status)


if __name__ == "__main__":
    main()
