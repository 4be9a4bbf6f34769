"""Medians of `benches/sync`, as tables."""

from statistics import median

MB, MIB = 1e6, 2**20
# Without a round trip: at least so much of rclone's rate. At 50 ms: at least so many times that of sftp.
OF_RCLONE, OF_SFTP = 0.95, 2.0


def tables(header, records):
    versions = ", ".join(header["versions"].values())
    lines = [f"{header['time']}: {header['cores']} cores {header['cpu']}, kernel {header['kernel']}, {header['rounds']} "
             f"interleaved rounds, medians; {header['size'] / MB:,.0f} MB that do not compress; {versions}.", "",
             "Rates with `sync -f` on the server's file system; CPU of the client and what it starts, in seconds; peak of its "
             "resident memory in MiB.", ""]
    carried = medians([record for record in records if record["type"] == "carry"])
    lines += ["| server | round trip, ms | tool | MB/s | CPU | peak | connections | wanted | |", "|-|-:|-|-:|-:|-:|-:|-|-|"]
    for (server, round_trip), tools in carried.items():
        for tool, found in tools.items():
            wanted, verdict = goal(round_trip, tools) if tool == "fardel" else ("", "")
            connections = f"{found['connections']:.0f}" if round_trip else ""
            lines.append(f"| {server} | {round_trip:g} | {tool} | {rate(found):.1f} | {found['cpu']:.1f} | "
                         f"{found['peak_rss'] / MIB:.0f} | {connections} | {wanted} | {verdict} |")
    if syncthing := [record for record in records if record["type"] == "syncthing"]:
        lines += ["", "Two instances of Syncthing on this machine, until the second one has everything:", "",
                  "| the same data as | files | wall | CPU of both | peak of both | databases, MB |", "|-|-:|-:|-:|-:|-:|"]
        lines += [f"| {r['what']} | {r['files']:,} | {r['wall']:.1f} | {r['cpu']:.1f} | {r['peak_rss'] / MIB:.0f} | "
                  f"{r['database'] / MB:.1f} |" for r in syncthing]
    return "\n".join(lines) + "\n"


def medians(records):
    groups = {}
    for record in records:
        place = groups.setdefault((record["server"], record["round_trip"]), {})
        place.setdefault(record["tool"], []).append(record)
    measures = ("wall", "cpu", "peak_rss", "connections", "bytes")
    return {key: {tool: {name: median(run[name] for run in runs) for name in measures} | {"ok": all(r["ok"] for r in runs)}
                  for tool, runs in sorted(tools.items())} for key, tools in groups.items()}


def rate(found):
    return found["bytes"] / found["wall"] / MB


def goal(round_trip, tools):
    """What is wanted of Fardel here, and whether it is so."""
    peer, least = ("sftp", OF_SFTP) if round_trip else ("rclone", OF_RCLONE)
    if peer not in tools:
        return "", ""
    got = rate(tools["fardel"]) / rate(tools[peer])
    return f"{least:g} of {peer}'s, got {got:.2f}", "yes" if got >= least and tools["fardel"]["ok"] else "**no**"
