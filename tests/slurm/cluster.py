#!/usr/bin/env python3
"""A real Slurm of two nodes on this one machine, for tests: no systemd, no accounting database.

munged, slurmctld and two slurmd (`-N n1`, `-N n2`) run as root with ports, keys and state of their own,
all in one directory; a Slurm that the machine may have besides is left alone.

    python3 tests/slurm/cluster.py start DIR    start it, and print how to talk to it
    python3 tests/slurm/cluster.py stop DIR     stop it

Debian and Ubuntu: `apt-get install slurm-wlm munge`.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

NODES = ("n1", "n2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
# Daemons live where a user's PATH does not always look.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
START_TIMEOUT = 60

SLURM_CONF = """\
ClusterName=kdxtest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# Requeued jobs wait until the credential of their last start has expired: two minutes by default.
AuthInfo=socket={dir}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool-%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd-%n.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd-%n.log
PlugStackConfig={dir}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=6
SlurmctldTimeout=10
InactiveLimit=0
KillWait=5
BatchStartTimeout=5
MessageTimeout=5
MinJobAge={min_job_age}
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[0]} CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 State=UNKNOWN
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
PartitionName=closed Nodes=n1,n2 MaxTime=INFINITE State=DOWN
"""


class Unavailable(Exception):
    """Slurm cannot run here; the message says why."""


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """The daemons in `directory`. `min_job_age`: seconds that the controller remembers a job that ended."""

    def __init__(self, directory, min_job_age=300):
        self.dir = pathlib.Path(directory).resolve()
        self.min_job_age = min_job_age

    @property
    def env(self):
        """The environment in which Slurm's commands talk to this cluster."""
        return {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.dir / "slurm.conf")}

    def run(self, *command, check=True, timeout=30):
        """Runs a command against this cluster and returns its standard output."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def start(self):
        """Starts everything, and waits until both nodes are idle."""
        if os.geteuid() != 0:
            raise Unavailable("Slurm's daemons need root")
        missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
        if missing:
            raise Unavailable(f"{', '.join(missing)} not found (Debian: apt-get install slurm-wlm munge)")
        self.dir.mkdir(parents=True, exist_ok=True)
        # munged and slurmd refuse directories that others may write to.
        self.dir.chmod(0o755)
        for name in ("munge", "state", *(f"spool-{node}" for node in NODES)):
            (self.dir / name).mkdir(exist_ok=True)
        (self.dir / "munge").chmod(0o711)
        controller, *ports = free_ports(1 + len(NODES))
        conf = SLURM_CONF.format(
            dir=self.dir,
            host=socket.gethostname().split(".")[0],
            controller_port=controller,
            ports=ports,
            min_job_age=self.min_job_age,
        )
        (self.dir / "slurm.conf").write_text(conf)
        # No control groups: what says so came with 23.02, what came before does not touch them.
        version = [int(part) for part in re.findall(r"\d+", self.run("slurmctld", "-V"))[:2]]
        plugin = "disabled" if version >= [23, 2] else "cgroup/v1"
        (self.dir / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")
        (self.dir / "plugstack.conf").write_text("")
        try:
            self.start_munged()
            self.start_controller()
            for node in NODES:
                self.start_node(node)
            self.wait_idle()
        except (RuntimeError, subprocess.SubprocessError, TimeoutError) as error:
            logs = self.logs()
            self.stop()
            raise Unavailable(f"the daemons did not come up: {error}\n{logs}") from error

    def start_munged(self):
        munge = self.dir / "munge"
        key = munge / "key"
        if not key.exists():
            key.write_bytes(os.urandom(1024))
            key.chmod(0o400)
        self.run(
            "munged", "--force", f"--key-file={key}", f"--socket={munge}/socket",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
        )  # fmt: skip

    def start_controller(self):
        self.run("slurmctld")

    def start_node(self, node):
        self.run("slurmd", "-N", node)

    def wait_idle(self):
        """Waits until every node can take jobs."""
        deadline = time.monotonic() + START_TIMEOUT
        states = ""
        while time.monotonic() < deadline:
            states = self.run("sinfo", "--noheader", "-N", "-o", "%N %t", "-p", "debug", check=False)
            if sorted(states.split("\n")[:-1]) == [f"{node} idle" for node in NODES]:
                return
            time.sleep(0.2)
        raise TimeoutError(f"nodes not idle within {START_TIMEOUT} s: {states!r}")

    def wait_down(self, node):
        """Waits until the controller has noticed that a node is gone."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if "down" in self.run("sinfo", "--noheader", "-n", node, "-o", "%t", "-p", "debug", check=False):
                return
            time.sleep(0.2)
        raise TimeoutError(f"{node} is not down within {START_TIMEOUT} s")

    def pid(self, name):
        """The process of `slurmctld` or of a node, if it runs."""
        path = self.dir / (f"{name}.pid" if name == "slurmctld" else f"slurmd-{name}.pid")
        try:
            pid = int(path.read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def kill(self, name, signum=signal.SIGTERM, timeout=30):
        """Ends `slurmctld` or a node's slurmd, and waits until it is gone."""
        pid = self.pid(name)
        if pid is None:
            return
        os.kill(pid, signum)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                os.kill(pid, 0)
                if pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    return
            except OSError:
                return
            time.sleep(0.05)
        raise TimeoutError(f"{name} did not end within {timeout} s")

    def job_processes(self, node):
        """Processes of the jobs on a node: those that say so in their environment, and who started them."""
        marks = (f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.dir}/slurm.conf".encode())
        parents, names, jobs = {}, {}, set()
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                name, fields = (entry / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            pid = int(entry.name)
            names[pid], parents[pid] = name, int(fields.split()[1])
            if all(mark in environment for mark in marks):
                jobs.add(pid)
        # A slurmstepd has the environment of its slurmd; its children have the job's.
        steps = {parents[pid] for pid in jobs if names.get(parents[pid], "").startswith("slurmstepd")}
        return steps | jobs

    def kill_node(self, node):
        """Ends a node as a power cut would: its slurmd and all that runs on it."""
        self.kill(node, signal.SIGKILL)
        for pid in self.job_processes(node):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def stop(self):
        """Stops everything that was started here."""
        for pid in [pid for node in NODES for pid in self.job_processes(node)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        for name in (*NODES, "slurmctld"):
            try:
                self.kill(name)
            except TimeoutError:
                self.kill(name, signal.SIGKILL)
        try:
            os.kill(int((self.dir / "munge" / "pid").read_text()), signal.SIGTERM)
        except (OSError, ValueError):
            pass

    def logs(self, lines=20):
        """The ends of the daemons' logs."""
        text = []
        for path in sorted(self.dir.glob("*.log")) + [self.dir / "munge" / "log"]:
            if path.exists():
                tail = path.read_text(errors="replace").splitlines()[-lines:]
                text.append("\n".join([f"-- {path.name}", *tail]))
        return "\n".join(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("directory", type=pathlib.Path)
    args = parser.parse_args()
    cluster = Cluster(args.directory)
    if args.action == "stop":
        cluster.stop()
        return 0
    try:
        cluster.start()
    except Unavailable as reason:
        print(f"skipped: {reason}")
        return 0
    print(f"export SLURM_CONF={cluster.dir}/slurm.conf")
    return 0


if __name__ == "__main__":
    sys.exit(main())
