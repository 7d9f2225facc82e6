"""The counts of an audit as text, as `python -m hyena.leakage` prints them."""

from collections.abc import Sequence

from hyena.leakage.counts import PartnerCount

_ORDER = {"test": 0, "validation": 1, "train": 2}


def summary(counts: Sequence[PartnerCount]) -> str:
    """The counts as text, test against train first.

    Of two directions that count the same pairs, one is shown: test against train, not train against test. The counts
    for intervals are shown in both directions.
    """
    shown = [count for count in counts if count.comparison.partner_class != "same"]
    lines = []
    for what in ("sequences", "official intervals"):
        of_kind = [c for c in shown if c.comparison.measure.startswith("interval") == (what != "sequences")]
        places = sorted(
            dict.fromkeys((count.comparison.split, count.comparison.against) for count in of_kind),
            key=lambda place: (place[0] == place[1], _ORDER[place[0]], -_ORDER[place[1]]),
        )
        for split, against in places:
            if what == "sequences" and _ORDER[split] > _ORDER[against]:
                continue
            chosen = [c for c in of_kind if (c.comparison.split, c.comparison.against) == (split, against)]
            title = f"{split} {what} with a partner " + ("in the same split" if split == against else f"in {against}")
            lines += ["", title, *_grid(chosen)]
    return "\n".join(lines)


def _grid(counts: Sequence[PartnerCount]) -> list[str]:
    """One line a measure, one column a class; measures that are zero throughout share one line."""
    labels = list(dict.fromkeys(count.label for count in counts))
    width = max(18, *(len(label) + 2 for label in labels))
    lines, none = [], []
    for measure in dict.fromkeys(count.comparison.measure for count in counts):
        for relation in ("any", "other"):
            cells = {c.label: c for c in counts if (c.comparison[0], c.comparison[3]) == (measure, relation)}
            title = f"  {measure}" if relation == "any" else "    in another class"
            if any(cell.count for cell in cells.values()):
                lines.append(f"{title:24}" + "".join(f"{_share(cells[label]):>{width}}" for label in labels))
            elif relation == "any":
                none.append(measure)
    if lines:
        lines.insert(0, " " * 24 + "".join(f"{label:>{width}}" for label in labels))
    return [*lines, f"  none by {', '.join(none)}"] if none else lines


def _share(cell: PartnerCount) -> str:
    return f"{cell.count:,} of {cell.of:,}" if cell.count else "0"
