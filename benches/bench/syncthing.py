"""Two instances of Syncthing on this machine that bring a folder from one to the other, measured until it is all there."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
import xml.etree.ElementTree as xml

from .measure import memory, size

KEY = "benchmark"
# A folder that is not over by then will not be, in seconds.
LONGEST = 4 * 3600
SAMPLE_SECONDS = 0.2


class Instance:
    """A running Syncthing with a home of its own, which knows no other machine but those it is told of."""

    def __init__(self, home):
        self.home = home
        subprocess.run(["syncthing", "generate", f"--home={home}"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.gui, self.listen = free_port(), free_port()
        path = home / "config.xml"
        tree = xml.parse(path)
        root = tree.getroot()
        for folder in root.findall("folder"):
            root.remove(folder)
        gui, options = root.find("gui"), root.find("options")
        put(gui, "address", f"127.0.0.1:{self.gui}")
        put(gui, "apikey", KEY)
        for each in options.findall("listenAddress"):
            options.remove(each)
        settings = {"listenAddress": f"tcp://127.0.0.1:{self.listen}", "globalAnnounceEnabled": "false",
                    "localAnnounceEnabled": "false", "relaysEnabled": "false", "natEnabled": "false", "startBrowser": "false",
                    "crashReportingEnabled": "false", "urAccepted": "-1", "autoUpgradeIntervalH": "0",
                    "stunKeepaliveStartS": "0"}
        for name, value in settings.items():
            put(options, name, value)
        tree.write(path)
        env = os.environ | {"STNOUPGRADE": "1", "HOME": str(home)}
        self.child = subprocess.Popen(["syncthing", "serve", f"--home={home}", "--no-browser", "--no-restart"], env=env,
                                      stdout=open(home / "log", "wb"), stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.id = self.get("/rest/system/status")["myID"]
                return
            except OSError:
                if time.monotonic() > deadline or self.child.poll() is not None:
                    raise SystemExit(f"sync: syncthing does not answer, see {home / 'log'}") from None
                time.sleep(0.1)

    def request(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.gui}{path}", data, {"X-API-Key": KEY}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def get(self, path):
        return json.loads(self.request("GET", path))

    def knows(self, other):
        self.request("PUT", f"/rest/config/devices/{other.id}",
                     {"deviceID": other.id, "addresses": [f"tcp://127.0.0.1:{other.listen}"], "compression": "metadata"})

    def shares(self, folder, kind, other):
        self.request("PUT", "/rest/config/folders/bench",
                     {"id": "bench", "path": str(folder), "type": kind, "devices": [{"deviceID": other.id}],
                      "fsWatcherEnabled": False, "rescanIntervalS": 0})

    def processes(self):
        with open(f"/proc/{self.child.pid}/task/{self.child.pid}/children") as file:
            return [self.child.pid, *map(int, file.read().split())]

    def stop(self):
        """Its CPU seconds."""
        try:
            self.request("POST", "/rest/system/shutdown")
        except OSError:
            self.child.terminate()
        _, _, usage = os.wait4(self.child.pid, 0)
        self.child.returncode = 0
        return usage.ru_utime + usage.ru_stime

    def database(self):
        return sum(size(path)[0] for path in self.home.glob("index-*"))


def run(folder, work):
    """What it cost until the second instance had all of `folder`."""
    if not shutil.which("syncthing"):
        raise SystemExit("sync: syncthing is not installed; leave --syncthing out")
    shutil.rmtree(work, ignore_errors=True)
    for name in ("a", "b", "there"):
        (work / name).mkdir(parents=True)
    marker = folder / ".stfolder"
    marker.mkdir(exist_ok=True)
    total, files = size(folder)
    one, other = Instance(work / "a"), Instance(work / "b")
    one.knows(other)
    other.knows(one)
    begun = time.perf_counter()
    one.shares(folder, "sendonly", other)
    other.shares(work / "there", "receiveonly", one)
    peak, deadline, done = 0, begun + LONGEST, False
    while not done and time.perf_counter() < deadline:
        time.sleep(SAMPLE_SECONDS)
        peak = max(peak, sum(memory(pid).get("VmRSS", 0) for each in (one, other) for pid in each.processes()))
        status = other.get("/rest/db/status?folder=bench")
        # Before the other side has told what it has, nothing is needed either.
        done = status["globalFiles"] == files and status["needTotalItems"] == 0 and status["state"] == "idle"
    subprocess.run(["sync", "-f", work], check=True)
    wall = time.perf_counter() - begun
    cpu = one.stop() + other.stop()
    result = {"ok": done and size(work / "there")[0] >= total, "wall": wall, "cpu": cpu, "peak_rss": peak,
              "database": one.database() + other.database(), "files": files, "bytes": total}
    shutil.rmtree(work)
    marker.rmdir()
    return result


def put(parent, name, value):
    """Sets an element, or an attribute of that name where there is one."""
    element = parent.find(name)
    if element is None:
        element = xml.SubElement(parent, name)
    element.text = value


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
