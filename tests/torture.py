#!/usr/bin/env python3
"""Kills a sweep at random moments until it is done, and compares what it left with an undisturbed sweep's.

    python3 tests/torture.py --rounds 200 --seed 1 [--kdx target/release/kdx] [--keep]

A round is one SIGKILL: of the dispatcher alone (its workers notice and stop), of one worker (the dispatcher
starts it again), or of the dispatcher and all its workers at once. A sweep that is done before all rounds are
is compared, and another one is begun in a new store. Exit code 0 where every metrics table and every model
is the same, byte for byte, and nothing is left behind; 1 elsewhere. Linux only: it reads /proc.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

EXPERIMENT = """
baseline = true

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
signal = "hidden"
[teacher.train]
steps = {teacher_steps}
batch_size = 4
checkpoint_every = 0.05

[student]
hidden_size = 16
layers = 1
heads = 2

[train]
steps = {steps}
batch_size = 4
accumulation = 2
log_every = 3
checkpoint_every = 0.05

[evaluate]
every = 25

[resources]
attempts = 1000

[grid]
"loss.temperature" = [1.0, 4.0]
"""

KINDS = ("dispatcher", "worker", "everything")
# A sweep that makes no progress for so long, in seconds, is a failure.
PATIENCE = 600
# Seconds. Owners that are killed are seen to be gone at once; it is what they leave that must be so old.
LEASE = 2
ENVIRONMENT = os.environ | {"KDX_LEASE_SECONDS": str(LEASE)}


def start(arguments, store, experiment, log):
    command = [arguments.kdx, "--store", store, "sweep", experiment, "--jobs", "2"]
    with open(log, "ab") as out:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=ENVIRONMENT)


def collect(arguments, store):
    """What `kdx gc` says once every lease is over; it removes what was left where no run is."""
    time.sleep(LEASE + 0.5)
    command = [arguments.kdx, "--store", store, "gc"]
    return subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout


def children(pid):
    """Processes that `pid` started itself."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name, in parentheses, may hold anything.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def strike(sweep, kind, rng):
    """One round's kill; the kind that it came to, or None where there was nothing to kill."""
    workers = children(sweep.pid)
    if kind == "worker":
        if not workers:
            return None
        kill(rng.choice(workers))
        return kind
    sweep.kill()
    if kind == "everything":
        for worker in workers:
            kill(worker)
    sweep.wait()
    return kind


def results(store):
    """Bytes of the metrics and of the model of every run."""
    found = {}
    for run in sorted((store / "runs").iterdir()):
        for name in ("metrics.jsonl", "model/model.safetensors"):
            path = run / name
            found[f"{run.name}/{name}"] = path.read_bytes() if path.exists() else None
    return found


def problems(store, expected):
    """What is not as an undisturbed sweep leaves it."""
    found = results(store)
    wrong = [f"{name} is not there" for name in expected if found.get(name) is None]
    wrong += [f"{name} is not expected" for name in found if name not in expected]
    wrong += [f"{n} differs" for n, data in found.items() if data is not None and expected.get(n) not in (None, data)]
    for status in store.glob("*/*/status.json"):
        state = json.loads(status.read_text())["state"]
        if state != "finished":
            wrong.append(f"{status.parent.name} is {state}")
    wrong += [f"{path} is left behind" for path in store.glob("*/*/checkpoint")]
    wrong += [f"{path} is left behind" for path in store.rglob(".kdx-*")]
    # One whose owner was killed between the run's end and its own is free to whoever asks.
    wrong += [f"{path} is held" for path in store.rglob("*lease.*") if path.stat().st_size and lives(path)]
    wrong += [f"{path} is left behind" for path in store.rglob("*.partial")]
    return wrong


def lives(lease):
    """Whether the process that owns a lease is there."""
    owner = json.loads(lease.read_text())
    try:
        fields = pathlib.Path(f"/proc/{owner['pid']}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[19]) == owner["started"] and fields[0] != "Z"


def logs(store):
    return "".join(p.read_text(errors="replace") for p in sorted(store.glob("*/*/log.txt")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and kinds")
    parser.add_argument("--kdx", default=str(ROOT / "target/release/kdx"), help="the program")
    parser.add_argument("--steps", type=int, default=400, help="optimizer steps of a student")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    arguments = parser.parse_args()
    arguments.kdx = str(pathlib.Path(arguments.kdx).resolve())
    rng = random.Random(arguments.seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kdx-torture-"))
    experiment = folder / "torture.toml"
    experiment.write_text(
        EXPERIMENT.format(toydata=ROOT / "toydata", steps=arguments.steps, teacher_steps=arguments.steps)
    )

    began = time.monotonic()
    log = folder / "sweep.log"
    undisturbed = folder / "undisturbed"
    if start(arguments, undisturbed, experiment, log).wait() != 0:
        sys.exit(f"the undisturbed sweep failed:\n{log.read_text()}")
    length = time.monotonic() - began
    expected = results(undisturbed)
    print(f"undisturbed: {len(expected) // 2} runs in {length:.1f} s", flush=True)

    kills, resumed, restarted, wrong = collections.Counter(), 0, 0, []
    stores = 0
    while sum(kills.values()) < arguments.rounds and not wrong:
        stores += 1
        store = folder / f"store-{stores}"
        sweep = start(arguments, store, experiment, log)
        last = time.monotonic()
        while True:
            rounds_left = arguments.rounds - sum(kills.values())
            # Half of the moments early, where a sweep plans, prepares and writes its first files.
            limit = rng.uniform(0, 0.6 * length) if rng.random() < 0.5 else rng.uniform(0, 0.5)
            try:
                code = sweep.wait(timeout=limit if rounds_left > 0 else PATIENCE)
            except subprocess.TimeoutExpired:
                if rounds_left == 0 or time.monotonic() - last > PATIENCE:
                    sweep.kill()
                    wrong.append(f"the sweep in {store} does not end")
                    break
                kind = strike(sweep, rng.choice(KINDS), rng)
                if kind is not None:
                    kills[kind] += 1
                    last = time.monotonic()
                if sweep.poll() is not None:
                    sweep = start(arguments, store, experiment, log)
                continue
            if code != 0:
                wrong.append(f"the sweep in {store} ended with exit code {code}")
            break
        # A sweep that ends while the workers of a killed one go on with a run waits for them, so all is done.
        collected = collect(arguments, store)
        removed = [line for line in collected.splitlines() if line.startswith("removed") and "/.kdx-" not in line]
        wrong += [f"kdx gc: {line}" for line in removed]
        wrong += problems(store, expected)
        text = logs(store)
        resumed += text.count("resumed at step")
        restarted += text.count("the run begins again")
    words = ", ".join(f"{n} of {kind}" for kind, n in sorted(kills.items()))
    print(f"{sum(kills.values())} kills ({words}) over {stores} sweeps in {time.monotonic() - began:.0f} s")
    print(f"{resumed} attempts went on from a checkpoint, {restarted} found one that they could not use")
    for problem in wrong:
        print(f"WRONG: {problem}")
    if wrong or arguments.keep:
        print(f"kept {folder}")
    else:
        shutil.rmtree(folder)
        print("every metrics table and every model is that of the undisturbed sweep")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
