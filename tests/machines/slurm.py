"""A Slurm cluster of two nodes on this machine, for the tests: installed binaries, or Debian's, unpacked for the run.

Nothing of the machine's own configuration is read or written, and no privileges are needed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ["slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "libhwloc15"]
DAEMONS = {"slurmctld": "slurmctld-wlm", "slurmd": "slurmd-wlm", "slurmstepd": "slurmstepd-wlm"}


@functools.cache
def find() -> Path | str:
    """The root under which ``usr/sbin`` has Debian's daemons, or why there is none."""
    if all(Path("/usr/sbin", name).is_file() for name in DAEMONS.values()):
        return Path("/")
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return "Slurm is not installed, and there is no apt-get to fetch Debian's with"
    kept = Path(tempfile.mkdtemp(prefix="seqkd-slurm-"))
    atexit.register(shutil.rmtree, kept, ignore_errors=True)
    # Unpacked, not installed. Where the machine has no package lists, they are fetched into the same folder.
    (kept / "lists" / "partial").mkdir(parents=True)
    (kept / "cache" / "archives" / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::lists={kept / 'lists'}", "-o", f"Dir::Cache={kept / 'cache'}"]
    last = run(kept, "apt-get", "download", *PACKAGES)
    if last is not None and run(kept, "apt-get", *own, "update") is None:
        last = run(kept, "apt-get", *own, "download", *PACKAGES)
    if last is None:
        last = run(kept, "sh", "-ec", 'for package in *.deb; do dpkg -x "$package" root; done')
    if last is not None:
        return f"Slurm is not installed, and Debian's could not be fetched: {last}"
    return kept / "root"


def run(folder: Path, *command: str) -> str | None:
    """None if the command succeeds, else the last line of what it complains of."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return f"{command[0]} took longer than two minutes"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run a controller and two nodes while the block runs; yields the environment of those who use them.

    Skips the test, with the reason, where they cannot be had or do not start.
    """
    root = find()
    if isinstance(root, str):
        print(f"skipped: {root}")
        pytest.skip(root)
    (plugins,) = root.glob("usr/lib/*/slurm-wlm")
    environment = {
        **os.environ,
        "PATH": f"{root / 'usr/bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{plugins.parent}:{plugins}",
        "SLURM_CONF": str(folder / "slurm.conf"),
    }
    ports = free_ports(3)
    (folder / "state").mkdir(parents=True)
    (folder / "slurm.conf").write_text(configuration(folder, plugins, ports))
    sbin = root / "usr" / "sbin"
    stepd = str(sbin / DAEMONS["slurmstepd"])
    commands = [[str(sbin / DAEMONS["slurmctld"]), "-D"]]
    commands += [[str(sbin / DAEMONS["slurmd"]), "-D", "-N", node, "-d", stepd] for node in ("node1", "node2")]
    daemons = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"daemon{number}.out").open("w") as output:
                daemons.append(
                    subprocess.Popen(
                        command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                    )
                )
        wait_for_nodes(environment, folder, daemons)
        yield environment
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=environment, timeout=10, capture_output=True)
            time.sleep(1)
        stop(daemons, folder)


def configuration(folder: Path, plugins: Path, ports: list[int]) -> str:
    """Of a cluster that trusts everyone on this machine."""
    host, user = socket.gethostname(), getpass.getuser()
    nodes = "\n".join(
        f"NodeName=node{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 State=UNKNOWN"
        for number, port in enumerate(ports[1:], start=1)
    )
    return f"""
ClusterName=seqkd_test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=2
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
{nodes}
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=INFINITE OverTimeLimit=0 State=UP
"""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as taken:
        sockets = [taken.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for_nodes(environment: dict[str, str], folder: Path, daemons: list[subprocess.Popen]) -> None:
    """Until both are idle; skips with what the daemons say if that does not come about."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and all(daemon.poll() is None for daemon in daemons):
        states = subprocess.run(
            ["sinfo", "--noheader", "--format=%T %D"], env=environment, capture_output=True, text=True, timeout=20
        )
        if states.stdout.split() == ["idle", "2"]:
            return
        time.sleep(0.2)
    said = [line for file in sorted(folder.glob("*.out")) for line in file.read_text().splitlines()[-2:]]
    reason = f"Slurm's daemons do not start here: {' / '.join(said)}"
    print(f"skipped: {reason}")
    pytest.skip(reason)


def stop(daemons: list[subprocess.Popen], folder: Path) -> None:
    """End the daemons and whatever they have started (each step has a slurmstepd that knows this configuration)."""
    for daemon in daemons:
        daemon.send_signal(signal.SIGTERM)
    for daemon in daemons:
        try:
            daemon.wait(5)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(5)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"SLURM_CONF={folder / 'slurm.conf'}\0" in (process / "environ").read_text(errors="replace") + "\0" and (
                int(process.name) != os.getpid()
            ):
                os.kill(int(process.name), signal.SIGKILL)
