"""Runs one command and measures it: wall, CPU seconds, peak memory of the whole process tree."""

import os
import select
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.020
CHILDREN_EVERY = 5


@dataclass
class Measured:
    """What one run cost. Wall includes `sync -f`; memory is in bytes."""

    exit_code: int
    wall: float
    sync: float
    cpu_user: float
    cpu_sys: float
    peak_rss: int
    peak_anon: int
    peak_shmem: int

    @property
    def cpu(self):
        return self.cpu_user + self.cpu_sys

    def record(self):
        return asdict(self) | {"cpu": self.cpu}


def measure(argv, env, cwd, log, sync_path):
    """Runs argv to its end, then syncs the file system of sync_path; both lie within the wall time."""
    sync(sync_path)
    with open(log, "ab") as out:
        out.write(f"\n$ {' '.join(map(str, argv))}\n".encode())
        out.flush()
        start = time.perf_counter()
        child = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        peaks = watch(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        ended = time.perf_counter()
        sync(sync_path)
        done = time.perf_counter()
    return Measured(
        exit_code=child.returncode,
        wall=done - start,
        sync=done - ended,
        cpu_user=usage.ru_utime,
        cpu_sys=usage.ru_stime,
        peak_rss=max(peaks["VmRSS"], usage.ru_maxrss * 1024),
        peak_anon=peaks["RssAnon"],
        peak_shmem=peaks["RssShmem"],
    )


def watch(pid):
    """Samples the process tree until pid ends; returns the peaks of the sums over the tree."""
    peaks = {"VmRSS": 0, "RssAnon": 0, "RssShmem": 0}
    handle = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    pids, turn = [pid], 0
    try:
        while not poll.poll(SAMPLE_SECONDS * 1000):
            if turn % CHILDREN_EVERY == 0:
                pids = tree(pid)
            turn += 1
            sums = dict.fromkeys(peaks, 0)
            for each in pids:
                for key, value in memory(each).items():
                    sums[key] += value
            for key in peaks:
                peaks[key] = max(peaks[key], sums[key])
    finally:
        os.close(handle)
    return peaks


def tree(pid):
    """pid and all its descendants."""
    pids, at = [pid], 0
    while at < len(pids):
        try:
            for task in os.listdir(f"/proc/{pids[at]}/task"):
                with open(f"/proc/{pids[at]}/task/{task}/children") as file:
                    pids += map(int, file.read().split())
        except (FileNotFoundError, ProcessLookupError):
            pass
        at += 1
    return pids


def memory(pid):
    """Bytes of VmRSS, RssAnon and RssShmem; nothing when the process is gone."""
    found = {}
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith(("VmRSS:", "RssAnon:", "RssShmem:")):
                    key, value = line.split(":")
                    found[key] = int(value.split()[0]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def sync(path):
    subprocess.run(["sync", "-f", str(path)], check=True)


def warm(path):
    """Reads everything under path once, so that every tool starts from the page cache."""
    buffer = bytearray(4 << 20)
    paths = [path] if path.is_file() else (Path(d, n) for d, _, names in os.walk(path) for n in names)
    for each in paths:
        if each.is_symlink() or not each.is_file():
            continue
        with open(each, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def size(folder):
    """(bytes, files) below a folder."""
    total, files = 0, 0
    for path, _, names in os.walk(folder):
        files += len(names)
        total += sum(os.lstat(os.path.join(path, name)).st_size for name in names)
    return total, files
