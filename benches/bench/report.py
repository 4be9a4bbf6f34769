"""Medians over the rounds, as tables."""

from statistics import median

MB, MIB = 1e6, 2**20

# (scenario, phase): what the project set itself. Each entry: a name, the figure, and how to read it from the medians.
TARGETS = {
    ("image", "first"): [("wall", "rustic", 0.45), ("wall", "restic", 0.40), ("wall", "vykar", 0.60),
                         ("cpu", "rustic", 0.60), ("stored", "restic", 0.97)],
    ("image", "changed"): [("wall", "rustic", 0.45), ("wall", "restic", 0.50), ("added", "borg-fixed", 1.10)],
    ("image", "restore"): [("wall", "rustic", 0.30), ("wall", "restic", 0.60)],
    ("image", "in-place"): [("wall", "rustic", 0.30), ("wall", "restic", 0.60)],
    ("image", "check"): [("wall", "rustic", 0.70), ("wall", "restic", 0.50)],
    ("tree", "first"): [("wall", "rustic", 0.30), ("wall", "restic", 0.50), ("wall", "vykar", 0.60),
                        ("stored", "restic", 0.85)],
    ("tree", "unchanged"): [("wall", "rustic", 0.15), ("wall", "restic", 0.15)],
    ("tree", "restore"): [("wall", "rustic", 0.70), ("wall", "restic", 0.35)],
    ("tree", "check"): [("wall", "rustic", 0.70), ("wall", "restic", 0.50)],
    ("million", "unchanged"): [("wall", "rustic", 0.15), ("wall", "restic", 0.15)],
    ("prune", "prune"): [("wall", "rustic", 0.50), ("wall", "restic", 0.25)],
}
ORDER = [(scenario, phase) for scenario in ("image", "tree", "million", "prune") for phase in
         ("init", "first", "changed", "touched", "unchanged", "restore", "in-place", "check", "prune")]
MEASURES = ("wall", "cpu", "peak_rss", "peak_anon", "stored", "files", "added")


def medians(records):
    """{(scenario, phase): {tool: {measure: median}}}; a failed or wrong run makes the tool's entry a text."""
    groups = {}
    for record in sorted(records, key=lambda record: ORDER.index((record["scenario"], record["phase"]))):
        place = groups.setdefault((record["scenario"], record["phase"]), {})
        place.setdefault(record["tool"], []).append(record)
    return {key: {tool: summary(runs) for tool, runs in tools.items()} for key, tools in groups.items()}


def summary(runs):
    if bad := [run["exit_code"] for run in runs if not run["ok"]]:
        return f"failed with exit code {bad[0]}"
    if any(run.get("verified") is False for run in runs):
        return "restored wrong data"
    return {name: median(run[name] for run in runs) for name in MEASURES if all(name in run for run in runs)}


def tables(header, records, absent):
    """The whole report as markdown."""
    order = list(header["tools"])
    found = medians(sorted(records, key=lambda record: order.index(record["tool"])))
    lines = [title(header), ""]
    if absent:
        lines += [f"Left out, because not installed: {', '.join(absent)}.", ""]
    lines += comparison(found)
    if targets := against_targets(found):
        lines += ["", "Fardel against its figures:", "", *targets]
    return "\n".join(lines) + "\n"


def title(header):
    versions = ", ".join(header["versions"].values())
    return (f"{header['time']}: {header['cores']} cores {header['cpu']}, kernel {header['kernel']}, "
            f"{header['rounds']} interleaved rounds, medians; data scale {header['scale']}; {versions}.\n\n"
            "Wall and CPU in seconds, wall with `sync -f`; peak memory in MiB (resident, of it anonymous); "
            "stored and added in MB (10^6 bytes). borg and vykar with zstd level 3, borg-fixed with 64 KiB "
            "chunks too, all else at its defaults.")


def comparison(found):
    lines = ["| | tool | wall | CPU | peak | anon | stored | files | added | wall / rustic | wall / restic | CPU / rustic |",
             "|-|-|-:|-:|-:|-:|-:|-:|-:|-:|-:|-:|"]
    for (scenario, phase), tools in found.items():
        for tool, values in tools.items():
            first = f"| {scenario}, {phase} | {tool} "
            if isinstance(values, str):
                lines.append(first + f"| {values} " + "| " * 9 + "|")
                continue
            cells = [number(values.get("wall")), number(values.get("cpu")),
                     number(values["peak_rss"] / MIB, 0), number(values["peak_anon"] / MIB, 0),
                     number(scaled(values, "stored")), number(values.get("files"), 0), number(scaled(values, "added"), 2),
                     number(ratio(tools, tool, "wall", "rustic"), 2), number(ratio(tools, tool, "wall", "restic"), 2),
                     number(ratio(tools, tool, "cpu", "rustic"), 2)]
            lines.append(first + "| " + " | ".join(cells) + " |")
    return lines


def against_targets(found):
    lines = []
    for key, tools in found.items():
        own = tools.get("fardel")
        if isinstance(own, str):
            lines.append(f"| {key[0]}, {key[1]} | {own} | | | **no** |")
        if not isinstance(own, dict):
            continue
        for name, peer, wanted in TARGETS.get(key, []):
            got = ratio(tools, "fardel", name, peer)
            lines.append(row(key, f"{name} / {peer}'s", got, wanted))
        if key == ("image", "first"):
            lines.append(row(key, "wall / own CPU", own["wall"] / own["cpu"], 0.60))
        if key == ("image", "touched"):
            lines.append(row(key, "added, KB", own["added"] / 1000, 65.536))
        if key == ("million", "unchanged"):
            lines.append(row(key, "peak memory, MiB", own["peak_rss"] / MIB, 200))
        if key == ("prune", "prune"):
            lines.append(row(key, "peak memory, MiB", own["peak_rss"] / MIB, 256))
        lines.append(row(key, "anonymous memory, MiB", own["peak_anon"] / MIB, 256))
    return lines and ["| | measure | wanted, at most | got | |", "|-|-|-:|-:|-|", *lines]


def row(key, what, got, wanted):
    verdict = "" if got is None else "yes" if got <= wanted else "**no**"
    return f"| {key[0]}, {key[1]} | {what} | {wanted:g} | {number(got, 2)} | {verdict} |"


def ratio(tools, tool, name, peer):
    """The tool's median over the peer's; None where there is nothing to compare with."""
    own, other = tools.get(tool), tools.get(peer)
    if not (isinstance(own, dict) and isinstance(other, dict) and other.get(name)):
        return None
    return own[name] / other[name]


def scaled(values, name):
    return values[name] / MB if name in values else None


def number(value, digits=1):
    return "" if value is None else f"{value:,.{digits}f}"
