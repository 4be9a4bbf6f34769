"""The tools that are compared: how each makes a repository, backs up, restores and checks.

Every tool runs at its defaults, with two exceptions that are said in the table's legend: borg and vykar would
compress with lz4, and get zstd level 3, which is what Fardel, rustic and restic use.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "benchmark"


@dataclass
class Step:
    """One command of a tool."""

    argv: list
    cwd: Path = None


class Tool:
    """A tool with its repository, cache and home in one folder that is made anew for every series."""

    name = ""
    scenarios = ("image", "tree", "million")
    phases = None
    accepted = (0,)

    def __init__(self, program, work):
        self.program = program
        self.base = work / self.name
        self.repo = self.base / "repo"
        self.backups = 0

    def environment(self):
        """The caller's environment without the settings of any backup tool, and our own home and caches."""
        foreign = ("RESTIC_", "RUSTIC_", "BORG_", "VYKAR_", "FARDEL_", "XDG_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        home = self.base / "home"
        return env | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "NO_COLOR": "1"} | self.settings()

    def reset(self):
        shutil.rmtree(self.base, ignore_errors=True)
        (self.base / "home").mkdir(parents=True)
        self.backups = 0
        self.prepare()

    def prepare(self):
        """Writes what init needs."""

    def version(self):
        done = subprocess.run([self.program, *self.version_argv], capture_output=True, text=True)
        return (done.stdout or done.stderr).strip().splitlines()[0]

    version_argv = ("--version",)

    # Whether it restores over files that are there already.
    overwrites = True

    def in_place(self, target):
        """Restores the latest backup over files that are there already."""
        return self.restore(target)


class Fardel(Tool):
    name = "fardel"
    scenarios = (*Tool.scenarios, "prune")

    def settings(self):
        return {
            "FARDEL_REPOSITORY": str(self.repo),
            "FARDEL_KEY_FILE": str(self.base / "key"),
            "FARDEL_CACHE_DIR": str(self.base / "cache"),
        }

    def command(self, *args):
        return Step([self.program, *args, "--no-progress", "--json"])

    def init(self):
        return self.command("init", "--repo", self.repo, "--key-file", self.base / "key")

    def backup(self, source):
        return self.command("backup", source)

    def restore(self, target):
        return self.command("restore", "latest", "--target", target)

    def in_place(self, target):
        return self.command("restore", "latest", "--target", target, "--in-place")

    def check(self):
        return self.command("check", "--level", "data")

    def tagged(self, source, tag):
        return self.command("backup", source, "--tag", tag)

    def forget(self, last, tag):
        return self.command("forget", "--keep-last", str(last), "--keep-tag", tag)

    def prune(self):
        return self.command("prune", "--grace", "0s")


class Rustic(Tool):
    name = "rustic"
    scenarios = (*Tool.scenarios, "prune")

    def settings(self):
        return {
            "RUSTIC_REPOSITORY": str(self.repo),
            "RUSTIC_PASSWORD": PASSWORD,
            "RUSTIC_CACHE_DIR": str(self.base / "cache"),
            "RUSTIC_NO_PROGRESS": "true",
        }

    def init(self):
        return Step([self.program, "init"])

    def backup(self, source):
        return Step([self.program, "backup", source])

    def restore(self, target):
        return Step([self.program, "restore", "latest", target])

    def check(self):
        return Step([self.program, "check", "--read-data"])

    def tagged(self, source, tag):
        return Step([self.program, "backup", source, "--tag", tag])

    # Tags differ from snapshot to snapshot, and would be groups of their own.
    def forget(self, last, tag):
        return Step([self.program, "forget", "--group-by", "host,paths", "--keep-last", str(last), "--keep-tags", tag])

    def prune(self):
        return Step([self.program, "prune", "--instant-delete"])


class Restic(Tool):
    name = "restic"
    scenarios = (*Tool.scenarios, "prune")
    version_argv = ("version",)

    def settings(self):
        return {
            "RESTIC_REPOSITORY": str(self.repo),
            "RESTIC_PASSWORD_FILE": str(self.base / "password"),
            "RESTIC_CACHE_DIR": str(self.base / "cache"),
        }

    def prepare(self):
        (self.base / "password").write_text(PASSWORD)

    def init(self):
        return Step([self.program, "init"])

    def backup(self, source):
        return Step([self.program, "backup", source])

    def restore(self, target):
        return Step([self.program, "restore", "latest", "--target", target])

    def check(self):
        return Step([self.program, "check", "--read-data"])

    def tagged(self, source, tag):
        return Step([self.program, "backup", source, "--tag", tag])

    def forget(self, last, tag):
        return Step([self.program, "forget", "--group-by", "host,paths", "--keep-last", str(last), "--keep-tag", tag])

    def prune(self):
        return Step([self.program, "prune"])


class Borg(Tool):
    name = "borg"
    accepted = (0, 1)  # 1: done, with warnings
    chunker = ()

    def settings(self):
        return {
            "BORG_REPO": str(self.repo),
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": str(self.base / "home"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def init(self):
        return Step([self.program, "init", "-e", "repokey"])

    def backup(self, source):
        self.backups += 1
        return Step([self.program, "create", "-C", "zstd,3", *self.chunker, f"::{self.backups}", source])

    def restore(self, target):
        return Step([self.program, "extract", f"::{self.backups}"], cwd=target)

    def check(self):
        return Step([self.program, "check", "--verify-data"])


class BorgFixed(Borg):
    """borg as one would set it up for images: the measure of how little a changed image may add."""

    name = "borg-fixed"
    scenarios = ("image",)
    phases = ("first", "changed", "touched")
    chunker = ("--chunker-params", "fixed,65536")


class Vykar(Tool):
    name = "vykar"
    overwrites = False

    def settings(self):
        return {"VYKAR_CONFIG": str(self.base / "vykar.yaml"), "VYKAR_PASSPHRASE": PASSWORD}

    def prepare(self):
        config = self.base / "vykar.yaml"
        config.write_text(
            f"repositories:\n  - label: bench\n    url: '{self.repo}'\n"
            f"cache_dir: '{self.base / 'cache'}'\n"
            "compression:\n  algorithm: zstd\n  zstd_level: 3\n"
        )
        config.chmod(0o600)

    def init(self):
        return Step([self.program, "init", "-R", "bench"])

    def backup(self, source):
        return Step([self.program, "backup", "-R", "bench", "-l", "bench", source])

    def restore(self, target):
        return Step([self.program, "restore", "-R", "bench", "latest", target])

    def check(self):
        return Step([self.program, "check", "-R", "bench", "--verify-data"])


ALL = (Fardel, Rustic, Restic, Vykar, Borg, BorgFixed)


def find(names, work, programs):
    """The tools of these names that this machine has, and the names of those it has not."""
    tools, absent = [], []
    for kind in ALL:
        if kind.name not in names and kind.name.split("-")[0] not in names:
            continue
        command = kind.name.split("-")[0]
        program = programs.get(command) or shutil.which(command)
        if program:
            tools.append(kind(program, work))
        else:
            absent.append(kind.name)
    return tools, absent
