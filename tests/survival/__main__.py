"""Every network with every layer: `python -m survival [PATTERN]` prints a row each and a Markdown table at the end."""

import sys
from fnmatch import fnmatch

from survival.networks import REFUSED, all_networks
from survival.trial import LAYERS, Outcome, survive


def main() -> int:
    pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
    outcomes: dict[str, list[Outcome]] = {}
    for network in (name for name in all_networks() if fnmatch(name, pattern)):
        outcomes[network] = [survive(network, layer) for layer in LAYERS]
        print(row(outcomes[network]), flush=True)
    trials = [one for group in outcomes.values() for one in group]
    refused = [one for one in trials if REFUSED.get(one.network, "\n") in one.problem]
    failed = [one for one in trials if one.problem and one not in refused]
    passed = len(trials) - len(failed) - len(refused)
    print(f"\n{passed} of {len(trials)} trials of {len(outcomes)} networks passed, {len(refused)} were rightly refused")
    for one in failed:
        print(f"- {one.network} with {one.layer}: {one.problem}")
    return bool(failed)


def row(group: list[Outcome]) -> str:
    """Return a row such as `| timm:dla34 | 30 of 45 | yes | yes | yes | 3e-16 | 12 s |`."""
    first = group[0]
    verdicts = " | ".join("yes" if not one.problem else "no" for one in group)
    differences = [one.difference for one in group if one.difference is not None]
    largest = f"{max(differences):.0e}" if differences else ""
    seconds = sum(one.seconds for one in group)
    total = first.replaced + first.left
    return f"| {first.network} | {first.replaced} of {total} | {verdicts} | {largest} | {seconds:.0f} s |"


if __name__ == "__main__":
    sys.exit(main())
