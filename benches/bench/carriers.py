"""What carries a repository: Fardel, and tools that copy its files."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field

ALL = ("fardel", "rclone", "sftp", "rsync")
SMALL = 64 << 10


@dataclass
class Step:
    """One command."""

    argv: list
    environment: dict
    cwd: str = None


@dataclass
class Source:
    """A repository with so many bytes that do not compress, made at once."""

    fardel: str
    place: object
    size: int
    sizes: dict = field(default_factory=dict)

    def __post_init__(self):
        self.place.mkdir(parents=True)
        self.repository = self.place / "repo"
        self.data = self.place / "data"
        with open(self.data, "wb") as out:
            for start in range(0, self.size, 1 << 20):
                out.write(os.urandom(min(1 << 20, self.size - start)))
        for words in (["init", "--recovery-file", self.place / "recovery"], ["backup", self.data]):
            subprocess.run([self.fardel, *words, "--quiet"], env=self.environment(), cwd=self.place, check=True)
        for folder, _, names in os.walk(self.repository):
            for name in names:
                path = os.path.join(folder, name)
                self.sizes[os.path.relpath(path, self.repository)] = os.path.getsize(path)
        self.bytes = sum(self.sizes.values())

    def environment(self):
        """An environment of its own; no tool finds what its user has configured."""
        home = self.place / "home"
        home.mkdir(exist_ok=True)
        return {"PATH": os.environ["PATH"], "HOME": str(home), "FARDEL_REPOSITORY": str(self.repository),
                "FARDEL_CACHE_DIR": str(self.place / "cache"), "FARDEL_KEY_FILE": str(self.place / "key")}

    def small_files(self):
        """The same data as files of 64 KiB, as tools with a file for each chunk would lay it down."""
        folder = self.place / "small"
        folder.mkdir()
        with open(self.data, "rb") as data:
            for number in range(0, -(-self.size // SMALL)):
                below = folder / f"{number % 256:02x}"
                below.mkdir(exist_ok=True)
                (below / f"{number:08x}").write_bytes(data.read(SMALL))
        return folder


def fits(tool, server):
    """Whether a tool is there and speaks what the server does."""
    program = "true" if tool == "fardel" else tool
    return bool(shutil.which(program)) and (tool in ("fardel", "rclone") or server.facts["kind"] == "sftp")


def versions(fardel, tools):
    commands = {"fardel": [fardel, "--version"], "rclone": ["rclone", "version"], "sftp": ["ssh", "-V"],
                "rsync": ["rsync", "--version"]}
    found = {}
    for tool in tools:
        if tool == "fardel" or shutil.which(tool):
            done = subprocess.run(commands[tool], capture_output=True, text=True)
            found[tool] = (done.stdout or done.stderr).strip().splitlines()[0]
    return found


def step(tool, source, server):
    return {"fardel": by_fardel, "rclone": by_rclone, "sftp": by_sftp, "rsync": by_rsync}[tool](source, server)


def by_fardel(source, server):
    facts, env = server.facts, source.environment()
    if facts["kind"] == "sftp":
        env["PATH"] = f"{facts['path']}:{env['PATH']}"
        url = f"sftp://{facts['host']}:{server.port}{facts['files']}/fardel"
    elif facts["kind"] == "webdav":
        netrc = os.path.join(env["HOME"], ".netrc")
        with open(os.open(netrc, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(f"default login {facts['user']} password \"{facts['password']}\"\n")
        url = f"webdav+http://{facts['user']}@127.0.0.1:{server.port}/fardel"
    else:
        env |= {"AWS_ACCESS_KEY_ID": facts["key"], "AWS_SECRET_ACCESS_KEY": facts["secret"]}
        url = f"s3://{facts['bucket']}/fardel?endpoint=http://127.0.0.1:{server.port}&region=us-east-1"
    return Step([source.fardel, "sync", "--to", url, "--json", "--no-progress"], env)


def by_rclone(source, server):
    facts, env = server.facts, source.environment() | {"RCLONE_CONFIG": "/dev/null"}
    if facts["kind"] == "sftp":
        options = {"host": "127.0.0.1", "port": server.port, "key_file": facts["key"], "shell_type": "none", "user": "root"}
        to = f"{facts['files']}/rclone"
    elif facts["kind"] == "webdav":
        obscured = subprocess.run(["rclone", "obscure", facts["password"]], capture_output=True, text=True, check=True)
        options = {"url": f"http://127.0.0.1:{server.port}", "vendor": "other", "user": facts["user"],
                   "pass": obscured.stdout.strip()}
        to = "rclone"
    else:
        options = {"provider": "Ceph", "endpoint": f"http://127.0.0.1:{server.port}", "access_key_id": facts["key"],
                   "secret_access_key": facts["secret"], "no_check_bucket": "true"}
        to = f"{facts['bucket']}/rclone"
    env |= {f"RCLONE_{facts['kind'].upper()}_{name.upper()}": str(value) for name, value in options.items()}
    return Step(["rclone", "copy", source.repository, f":{facts['kind']}:{to}"], env)


def ssh_options(server):
    return ["-F", server.facts["config"], "-o", f"Port={server.port}"]


def by_sftp(source, server):
    batch = source.place / "batch"
    # `put -r` makes the folder's own name below the target.
    there = f"{server.facts['files']}/sftp"
    batch.write_text(f"mkdir {there}\nput -r {source.repository}/* {there}/\n")
    return Step(["sftp", *ssh_options(server), "-b", batch, server.facts["host"]], source.environment())


def by_rsync(source, server):
    shell = " ".join(["ssh", *ssh_options(server)])
    to = f"{server.facts['host']}:{server.facts['files']}/rsync/"
    return Step(["rsync", "-a", "--whole-file", "-e", shell, f"{source.repository}/", to], source.environment())
