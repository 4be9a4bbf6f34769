"""The servers of the test suites, each with a line to it that can be made long."""

import json
import os
import shutil
import subprocess

SERVERS = ("openssh", "nginx", "apache", "rclone", "ceph")


class Server:
    """A server as long as the `with` lasts. `port` is where a tool reaches it: over the line, or directly without a round trip."""

    def __init__(self, program, name, round_trip, work):
        self.program, self.name, self.round_trip = program, name, round_trip
        self.place = work / "server"

    def __enter__(self):
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        # Servers of other users have to get in.
        os.chmod(self.place, 0o755)
        env = os.environ | {"TMPDIR": str(self.place)}
        self.child = subprocess.Popen([self.program, self.name], env=env, text=True, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE)
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(f"sync: {self.name} does not start; --servers leaves it out")
        self.facts = json.loads(line)
        # Without a round trip nothing stands between: a line would cost processor time.
        self.port = self.facts["line"] if self.round_trip else self.facts["port"]
        self.files = self.facts.get("files") or str(self.place)
        self.ask(f"delay {self.round_trip / 2}")
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()
        shutil.rmtree(self.place, ignore_errors=True)

    def ask(self, order):
        self.child.stdin.write(order + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def counts(self):
        """Bytes and connections since the last time; zeros where no line stands between."""
        return self.ask("counts")[self.name]

    def holds(self, source, tool):
        """Whether what a tool carried is there, every file with its size; a bucket is believed."""
        if "files" not in self.facts:
            return True
        there = os.path.join(self.files, tool)
        sizes = {os.path.relpath(os.path.join(folder, name), there): os.path.getsize(os.path.join(folder, name))
                 for folder, _, names in os.walk(there) for name in names}
        return all(sizes.get(name) == size for name, size in source.sizes.items())
