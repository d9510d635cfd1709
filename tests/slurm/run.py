#!/usr/bin/env python3
"""Sweeps through a real Slurm of two nodes, undisturbed and disturbed; compares them with a sweep without it.

    python3 tests/slurm/run.py --kdx target/release/kdx [--only NAME] [--keep]

Every sweep must end with each run finished once and its metrics and model the same, byte for byte, as those
of a sweep on this machine alone. Skipped, with the reason, where Slurm cannot be started.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from cluster import NODES, Cluster, Unavailable

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

EXPERIMENT = """
name = "nodes"

[data]
train = "{toydata}/train.jsonl"
validation = "{toydata}/validation.jsonl"
tokenizer = "{toydata}/tokenizer"
max_length = 48
train_limit = 96
validation_limit = 16

[teacher]
hidden_size = 32
layers = 1
heads = 2
[teacher.train]
steps = {teacher_steps}
batch_size = 4
checkpoint_every = 0.2

[student]
hidden_size = 16
layers = 1
heads = 2

[train]
steps = {steps}
batch_size = 4
log_every = 10
checkpoint_every = 0.2

[evaluate]
every = 100

[resources]
threads = 1
attempts = 3

[slurm]
partition = "debug"
cpus = 1
poll = 1

[grid]
"loss.temperature" = [1.0, 4.0]
"train.seed" = [1, 2]
"""

# A sweep that takes longer, in seconds, hangs.
PATIENCE = 120


class Wrong(Exception):
    """Something is not as it must be."""


class Bench:
    """The program, the cluster and the results that every sweep must come to."""

    def __init__(self, kdx, folder, cluster, steps):
        self.kdx, self.folder, self.cluster = kdx, folder, cluster
        self.experiment = folder / "nodes.toml"
        text = EXPERIMENT.format(toydata=ROOT / "toydata", steps=steps, teacher_steps=steps // 4)
        self.experiment.write_text(text)
        local = self.start("local", executor="local")
        self.finish(local)
        self.expected = results(self.store("local"))

    def store(self, name):
        return self.folder / name

    def start(self, name, *options, executor="slurm"):
        """Starts a sweep into a store of its own."""
        log = open(self.folder / f"{name}.log", "ab")
        jobs = ["--jobs", "2"] if executor == "local" else []
        return subprocess.Popen(
            [self.kdx, "--store", self.store(name), "sweep", self.experiment, "--executor", executor, *jobs, *options],
            env=self.cluster.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip

    def finish(self, sweep, code=0):
        try:
            found = sweep.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            sweep.kill()
            raise Wrong(f"the sweep does not end within {PATIENCE} s") from None
        if found != code:
            raise Wrong(f"the sweep ended with exit code {found}, not {code}")

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def check(self, name):
        """That a sweep came to what it must, and left nothing behind."""
        store = self.store(name)
        found = results(store)
        if found.keys() != self.expected.keys():
            raise Wrong(f"other files: {sorted(found.keys() ^ self.expected.keys())}")
        different = [path for path, data in found.items() if data != self.expected[path]]
        if different:
            raise Wrong(f"other bytes: {', '.join(different)}")
        for status in store.glob("*/*/status.json"):
            state = json.loads(status.read_text())["state"]
            if state != "finished":
                raise Wrong(f"{status.parent.name} is {state}")
        left = [*store.glob("slurm/*/*.sh"), *store.glob("slurm/*/*.tasks"), *store.glob("*/*/checkpoint")]
        if left:
            raise Wrong(f"left behind: {', '.join(map(str, left))}")
        # A task that was submitted twice finds its run done, and ends.
        deadline = time.monotonic() + PATIENCE
        while True:
            queue = self.cluster.run("squeue", "--noheader", "--format=%i %T")
            if "RUNNING" not in queue and "PENDING" not in queue:
                break
            if time.monotonic() > deadline:
                raise Wrong(f"jobs left in the queue: {queue}")
            time.sleep(1)

    def running_students(self, name, at_least=1):
        """Waits until so many students are in the middle of their training; their directories."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = []
            for status in self.store(name).glob("runs/*/status.json"):
                checkpoint = status.parent / "checkpoint" / "checkpoint.json"
                record = json.loads((status.parent / "run.json").read_text())
                if "teachers" not in record["spec"]["train"]:
                    continue
                if json.loads(status.read_text())["state"] == "running" and checkpoint.exists():
                    found.append(status.parent)
            if len(found) >= at_least:
                return found
            time.sleep(0.05)
        raise Wrong("no student was trained")

    def task_of(self, name, run):
        """The number, as `12_3`, of the task that trains a run."""
        record = json.loads((self.store(name) / "slurm/nodes/submissions.json").read_text())
        for submission in reversed(record["submissions"]):
            for number, task in enumerate(submission["tasks"], 1):
                if task["run"] == run:
                    return f"{submission['job']}_{number}"
        raise Wrong(f"{run} was never submitted")


def results(store):
    """Bytes of the metrics and of the model of every run."""
    found = {}
    for run in sorted((store / "runs").iterdir()):
        for name in ("metrics.jsonl", "model/model.safetensors"):
            found[f"{run.name}/{name}"] = (run / name).read_bytes()
    return found


def expect(condition, text):
    if not condition:
        raise Wrong(text)


def undisturbed(bench):
    """A sweep over two nodes"""
    bench.finish(bench.start("undisturbed"))
    bench.check("undisturbed")
    places = set(bench.cluster.run("squeue", "--noheader", "--states=all", "--format=%N").split())
    expect(places == set(NODES), f"the sweep ran on {places}")
    submitted = re.findall(r"submitted (\d+) run", bench.log("undisturbed"))
    expect(submitted == ["1", "4"], f"arrays of {submitted} runs, not the teacher and its students")
    ignored = "resources.threads has no effect with --executor slurm"
    expect(ignored in bench.log("undisturbed"), "the sweep did not say that a key changes nothing")


def cancelled_job(bench):
    """A job cancelled by hand"""
    sweep = bench.start("cancelled")
    run = bench.running_students("cancelled")[0]
    bench.cluster.run("scancel", bench.task_of("cancelled", run.name))
    bench.finish(sweep)
    bench.check("cancelled")
    expect("its job was cancelled" in bench.log("cancelled"), "the sweep did not say that a job was cancelled")


def killed_worker(bench):
    """A worker killed"""
    sweep = bench.start("killed")
    run = bench.running_students("killed")[0]
    os.kill(json.loads((run / "status.json").read_text())["pid"], signal.SIGKILL)
    bench.finish(sweep)
    bench.check("killed")
    expect("killed (signal 9)" in bench.log("killed"), "the sweep did not say how the worker ended")


def failed_node(bench):
    """A node's slurmd and its jobs killed"""
    sweep = bench.start("node")
    bench.running_students("node", at_least=2)
    bench.cluster.kill_node("n2")
    bench.cluster.wait_down("n2")
    bench.cluster.start_node("n2")
    bench.finish(sweep)
    bench.check("node")


def restarted_controller(bench):
    """A restart of the controller"""
    sweep = bench.start("controller")
    bench.running_students("controller")
    bench.cluster.kill("slurmctld")
    # Longer than Slurm's own commands wait for it.
    time.sleep(12)
    bench.cluster.start_controller()
    bench.finish(sweep)
    bench.check("controller")
    expect("Slurm answers again" in bench.log("controller"), "the sweep did not notice the restart")


def killed_dispatcher(bench):
    """The sweep killed, and started again"""
    sweep = bench.start("dispatcher")
    bench.running_students("dispatcher")
    sweep.kill()
    sweep.wait()
    bench.finish(bench.start("dispatcher"))
    bench.check("dispatcher")
    log = bench.log("dispatcher")
    expect("submitted before" in log, "the second sweep did not find the jobs of the first")
    submitted = re.findall(r"submitted (\d+) run", log)
    expect(submitted == ["1", "4"], f"arrays of {submitted} runs: something was submitted twice")


def unrecorded_submission(bench):
    """The sweep killed between the submission and its record"""
    sweep = bench.start("unrecorded")
    bench.running_students("unrecorded")
    sweep.kill()
    sweep.wait()
    path = bench.store("unrecorded") / "slurm/nodes/submissions.json"
    record = json.loads(path.read_text())
    for submission in record["submissions"]:
        submission["job"] = None
    # And one that was recorded and never made.
    never = json.loads(json.dumps(record["submissions"][-1]))
    record["submissions"].append({**never, "name": "kdx-nodes-never", "tasks": never["tasks"][-1:]})
    path.write_text(json.dumps(record))
    bench.finish(bench.start("unrecorded"))
    bench.check("unrecorded")


def interrupted(bench):
    """Ctrl-C: jobs go on; with --cancel-on-interrupt they do not"""
    sweep = bench.start("interrupted")
    bench.running_students("interrupted")
    sweep.send_signal(signal.SIGINT)
    bench.finish(sweep, 130)
    expect("in Slurm's hands" in bench.log("interrupted"), "the sweep did not say that its jobs go on")
    expect("RUNNING" in bench.cluster.run("squeue", "--noheader", "--format=%T"), "no job goes on")
    sweep = bench.start("interrupted", "--cancel-on-interrupt")
    bench.running_students("interrupted")
    time.sleep(2)
    sweep.send_signal(signal.SIGINT)
    bench.finish(sweep, 130)
    queue = bench.cluster.run("squeue", "--noheader", "--format=%T")
    expect("RUNNING" not in queue and "PENDING" not in queue, f"jobs go on: {queue}")
    bench.finish(bench.start("interrupted"))
    bench.check("interrupted")


def refused(bench):
    """What Slurm refuses, or lets wait, is said"""
    sweep = bench.start("refused", "--set", 'slurm.partition="nonsense"')
    bench.finish(sweep, 1)
    expect("invalid partition" in bench.log("refused"), bench.log("refused"))
    sweep = bench.start("refused", "--set", 'slurm.partition="closed"', "--cancel-on-interrupt")
    deadline = time.monotonic() + PATIENCE
    while "partition is down" not in bench.log("refused") and time.monotonic() < deadline:
        time.sleep(0.1)
    sweep.send_signal(signal.SIGINT)
    bench.finish(sweep, 130)
    expect("partition is down" in bench.log("refused"), "the sweep did not say why its job waits")
    expect("failed" not in bench.log("refused").split("stopping")[1], "a sweep that was stopped failed runs")


SCENARIOS = {
    f.__name__.replace("_", "-"): f
    for f in (
        undisturbed, cancelled_job, killed_worker, failed_node, restarted_controller, killed_dispatcher,
        unrecorded_submission, interrupted, refused,
    )
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kdx", default=str(ROOT / "target/release/kdx"), help="the program")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="only these")
    parser.add_argument("--steps", type=int, default=4000, help="optimizer steps of a student")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kdx-slurm-"))
    # munged wants a path that everyone may walk.
    folder.chmod(0o755)
    cluster = Cluster(folder / "cluster")
    try:
        cluster.start()
    except Unavailable as reason:
        print(f"skipped: {reason}")
        shutil.rmtree(folder)
        return 0
    wrong = False
    try:
        began = time.monotonic()
        bench = Bench(str(pathlib.Path(args.kdx).resolve()), folder, cluster, args.steps)
        print(f"without Slurm: {time.monotonic() - began:.0f} s", flush=True)
        for name, scenario in SCENARIOS.items():
            if args.only and name not in args.only:
                continue
            began = time.monotonic()
            try:
                scenario(bench)
            except (Wrong, OSError, RuntimeError, ValueError, TimeoutError) as error:
                wrong = True
                print(f"WRONG {scenario.__doc__}: {error}", flush=True)
                # The next one begins with an empty queue.
                cluster.run("scancel", "--user=root", check=False)
            else:
                print(f"ok    {scenario.__doc__}: {time.monotonic() - began:.0f} s", flush=True)
            cluster.wait_idle()
    finally:
        if wrong:
            print(cluster.logs(40))
        cluster.stop()
    if wrong or args.keep:
        print(f"kept {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
