"""A file system that nobody has used: ext4 takes minutes before it uses the inodes of deleted files again, and meanwhile
whoever makes files searches longer, and would pay for what another tool left."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

SIZE = 8 << 30


def can_be_made():
    """Whether this user can make one: it takes root, and loop devices."""
    programs = all(shutil.which(name) for name in ("mkfs.ext4", "losetup", "mount", "umount"))
    return os.geteuid() == 0 and programs and Path("/dev/loop-control").exists()


@contextmanager
def fresh_folder(work):
    """An empty folder on an ext4 of its own in a file below `work`; where that cannot be made, on the one of `work`."""
    if not can_be_made():
        # It stays until all is measured: removing it would harm whoever comes next.
        yield Path(tempfile.mkdtemp(dir=work))
        return
    image, folder = work / "fresh.ext4", work / "fresh"
    folder.mkdir(exist_ok=True)
    image.unlink(missing_ok=True)
    run("fallocate", "-l", SIZE, image)
    device = run("losetup", "--find", "--show", "--direct-io=on", image)
    try:
        run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
        run("mount", "-o", "nodev", device, folder)
        try:
            target = folder / "restored"
            target.mkdir()
            yield target
        finally:
            run("umount", folder)
    finally:
        run("losetup", "--detach", device)
        image.unlink()


def run(*command):
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()
