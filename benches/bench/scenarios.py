"""What is done with each tool, step by step, and the proof that a restore gave the right bytes back."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .fresh import fresh_folder
from .measure import measure, size, warm
from .nights import Nights


RESTORED = "restored"


class Failed(Exception):
    """A step that the rest of a tool's series needs did not work."""


@dataclass
class Series:
    """One tool, one scenario, one round: runs the steps and hands each record to `report`."""

    tool: object
    data: Path
    work: Path
    log: Path
    verify: bool
    report: callable
    scale: float = 1.0

    def run(self, scenario):
        self.tool.reset()
        try:
            self.once(self.tool.init())
            getattr(self, scenario)()
        finally:
            shutil.rmtree(self.tool.base, ignore_errors=True)

    # -- scenarios ----------------------------------------------------------------------------------------------

    def image(self):
        source = self.work / "source" / "disk.img"
        source.parent.mkdir(exist_ok=True)
        place(self.data / "image.img", source)
        self.backup("first", source)
        place(self.data / self.changed, source)
        self.backup("changed", source)
        if self.has("touched"):
            with touched(source):
                self.backup("touched", source)
        if self.has("restore"):
            with fresh_folder(self.restored()) as target:
                self.restore("restore", self.tool.restore(target), source, target)
                there = found(target, source)
                if there and self.tool.overwrites:
                    run(["cp", "--sparse=always", self.data / "image.img", there])
                    self.restore("in-place", self.tool.in_place(target), source, target, also_warm=there)
        self.check()

    changed = "changed.img"

    def tree(self):
        source = self.data / "tree"
        self.backup("first", source)
        self.backup("unchanged", source)
        with fresh_folder(self.restored()) as target:
            self.restore("restore", self.tool.restore(target), source, target)
        self.check()

    def million(self):
        source = self.data / "million"
        self.backup("first", source)
        self.backup("unchanged", source)

    def prune(self):
        source = self.work / "source" / "nights"
        for keep in Nights(source, self.scale):
            self.once(self.tool.tagged(source, "keep" if keep else "night"))
        self.once(self.tool.forget(last=10, tag="keep"))
        before, _ = size(self.tool.repo)
        warm(self.tool.repo)
        result = self.timed(self.tool.prune())
        stored, files = size(self.tool.repo)
        facts = {"stored": stored, "files": files, "added": stored - before}
        if self.verify and result.exit_code in self.tool.accepted:
            with fresh_folder(self.restored()) as target:
                self.once(self.tool.restore(target))
                facts["verified"] = same(source, found(target, source))
        self.report("prune", result, facts)
        shutil.rmtree(source)

    # -- steps --------------------------------------------------------------------------------------------------

    def has(self, phase):
        return self.tool.phases is None or phase in self.tool.phases

    def once(self, step):
        """Runs an unmeasured step that must work."""
        with open(self.log, "ab") as out:
            done = subprocess.run(step.argv, env=self.tool.environment(), cwd=step.cwd, stdin=subprocess.DEVNULL,
                                  stdout=out, stderr=out)
        if done.returncode not in self.tool.accepted:
            raise Failed(f"{self.tool.name}: exit code {done.returncode} from {step.argv[1]}, see {self.log}")

    def backup(self, phase, source):
        warm(source)
        before, _ = size(self.tool.repo)
        result = self.timed(self.tool.backup(source))
        stored, files = size(self.tool.repo)
        self.report(phase, result, {"stored": stored, "files": files, "added": stored - before})
        if result.exit_code not in self.tool.accepted:
            raise Failed(f"{self.tool.name}: exit code {result.exit_code} from the {phase} backup, see {self.log}")

    def restore(self, phase, step, source, target, also_warm=None):
        warm(self.tool.repo)
        if also_warm:
            warm(also_warm)
        result = self.timed(step, target)
        facts = {}
        if self.verify and result.exit_code in self.tool.accepted:
            facts["verified"] = same(source, found(target, source))
        self.report(phase, result, facts)

    def check(self):
        if self.has("check"):
            warm(self.tool.repo)
            self.report("check", self.timed(self.tool.check()), {})

    def timed(self, step, written=None):
        return measure(step.argv, self.tool.environment(), step.cwd, self.log, written or self.work)

    def restored(self):
        """Where restores go; what is left there is removed when all is measured."""
        (self.work / RESTORED).mkdir(exist_ok=True)
        return self.work / RESTORED


def place(image, path):
    """Puts an image under the name that all backups of it have; a link, since a copy would cost gigabytes."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    try:
        os.link(image, draft)
    except OSError:
        run(["cp", "--sparse=always", "--preserve=timestamps", image, draft])
    os.replace(draft, path)


class touched:
    """The file with a new modification time and the same content; the old time comes back at the end."""

    def __init__(self, path):
        self.path, self.info = path, os.stat(path)

    def __enter__(self):
        os.utime(self.path)

    def __exit__(self, *_):
        os.utime(self.path, ns=(self.info.st_atime_ns, self.info.st_mtime_ns))


def found(target, source):
    """Where a restore put the source: tools differ in how much of its path they repeat."""
    names = set(os.listdir(source)) if source.is_dir() else None
    level = [target]
    while level:
        for folder in level:
            if names is None and os.path.lexists(folder / source.name):
                return folder / source.name
            if names and names == set(os.listdir(folder)):
                return folder
        level = [entry for folder in level for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink()]
    return None


def same(source, restored):
    """Whether the restored copy has the same bytes, names and links."""
    if restored is None:
        return False
    command = ["cmp", "-s"] if source.is_file() else ["diff", "-rq", "--no-dereference"]
    return subprocess.run([*command, source, restored], stdout=subprocess.DEVNULL).returncode == 0


def run(command):
    subprocess.run(list(map(str, command)), check=True)
