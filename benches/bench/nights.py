"""A folder of small files, of which each night writes a part anew: a million versions in a hundred nights."""

import os
import random
import shutil

SEED = 20261125
FOLDERS, FILES = 100, 1000
NIGHTS = 100
# What a night changes: so many of a hundred folders, and so many of a thousand files in each.
FOLDERS_A_NIGHT, FILES_A_NIGHT = 25, 365
# Every so often a snapshot gets the tag that the policy keeps.
KEPT_EVERY = 10


class Nights:
    """The folder, as it is before the first night; `scale` is the share of its folders."""

    def __init__(self, folder, scale):
        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.folders = folder, max(1, round(FOLDERS * scale))
        self.random = random.Random(SEED)
        words = [self.random.randbytes(self.random.randint(2, 6)).hex().encode() for _ in range(2000)]
        self.text = b" ".join(self.random.choices(words, k=500_000))

    def __iter__(self):
        """Makes night after night, and tells of each whether its snapshot is to be kept for long."""
        for night in range(NIGHTS):
            share = max(1, round(self.folders * FOLDERS_A_NIGHT / FOLDERS))
            changed = range(self.folders) if night == 0 else self.random.sample(range(self.folders), share)
            for number in sorted(changed):
                place = self.folder / f"{number:04d}"
                place.mkdir(parents=True, exist_ok=True)
                files = range(FILES) if night == 0 else self.random.sample(range(FILES), FILES_A_NIGHT)
                for file in sorted(files):
                    self.write(place / f"{file:04d}.txt", night)
            yield night % KEPT_EVERY == 0

    def write(self, path, night):
        """No two versions of any files are equal."""
        size, at = self.random.randint(100, 2000), self.random.randrange(len(self.text) - 2000)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(handle, b"%d %s %s\n" % (night, os.fsencode(path), self.text[at:at + size]))
        os.close(handle)
