#!/usr/bin/env python3
"""Times a whole sweep: 4 temperatures × 2 alphas, 3 epochs over the same data, everything included.

Three questions, each answered side by side on this machine:

  1. the sweep of 8 points against PyTorch (benches/peer/pytorch_kd.py) taking the same steps 8 times;
  2. what a ninth point costs once the eight are done;
  3. the sweep with the teacher's signal from the cache against the teacher online, for a teacher of ten times the
     student's size.

    cargo build --release
    python3 benches/sweep.py --python VENV/bin/python

The data are random tokens, written to a temporary directory. PyTorch's time is that of one process, start and
compilation included, with its step repeated to the same number of steps; eight points are eight processes.
Needs Python 3.11 and, for the first question, a Python that has torch and transformers.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
EPOCHS = 3
BATCH = 8
SEQUENCE = 512
TEMPERATURES = [1.0, 1.5, 2.0, 4.0]
ALPHAS = [0.1, 0.5]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kdx", default=str(HERE.parent / "target/release/kdx"), help="the kdx binary")
    parser.add_argument("--python", help="a Python with torch and transformers; without it, question 1 is left out")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of an epoch (default: 20)")
    parser.add_argument("--student", default="512x1", help="hidden size x layers (default: 512x1)")
    parser.add_argument("--teacher", default="768x2", help="of questions 1 and 2 (default: 768x2)")
    parser.add_argument("--teacher-steps", type=int, default=1,
                        help="steps that the sweep trains its teacher for; PyTorch's has none (default: 1, of one sequence)")
    parser.add_argument("--large-teacher", default="1024x5", help="of question 3 (default: 1024x5, 62 M parameters)")
    parser.add_argument("--large-steps", type=int, default=4, help="steps of an epoch in question 3 (default: 4)")
    parser.add_argument("--vocab", type=int, default=6400)
    parser.add_argument("--modes", nargs="*", default=["bf16", "bf16 --compile"], help="modes of PyTorch to try")
    parser.add_argument("--questions", nargs="*", type=int, default=[1, 2, 3], help="which to answer (default: all)")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here as well")
    return parser.parse_args()


def shape(text):
    hidden, layers = text.split("x")
    return f"hidden_size = {hidden}\nlayers = {layers}"


def write_data(path, sequences, vocab):
    numbers = random.Random(7)
    with open(path, "w") as file:
        for _ in range(sequences):
            ids = [numbers.randrange(vocab) for _ in range(SEQUENCE)]
            file.write(json.dumps({"input_ids": ids, "labels": ids}) + "\n")


def write_experiment(path, options, teacher, signal):
    path.write_text(f"""\
[data]
train = "train.jsonl"
format = "tokenized"
max_length = {SEQUENCE}

[teacher]
{shape(teacher)}
vocab_size = {options.vocab}
signal = "{signal}"

[teacher.train]
steps = {options.teacher_steps}
batch_size = {BATCH if options.teacher_steps > 1 else 1}
precision = "bf16"

[student]
{shape(options.student)}
vocab_size = {options.vocab}

[train]
epochs = {EPOCHS}
batch_size = {BATCH}
precision = "bf16"
log_every = 20

[grid]
"loss.temperature" = {TEMPERATURES}
"loss.alpha" = {ALPHAS}
""")


def sweep(options, file, store="runs"):
    """Seconds of `kdx sweep`."""
    command = [options.kdx, "sweep", file.name, "--store", store, "--devices", "cpu"]
    start = time.monotonic()
    result = subprocess.run(command, cwd=file.parent, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"kdx sweep failed:\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}")
    return time.monotonic() - start


def peer(options, mode, steps):
    """Seconds of one PyTorch process that takes `steps` steps, from its start to its end."""
    command = [options.python, str(HERE / "peer/pytorch_kd.py"), "--mode", *mode.split(), "--seconds", "30",
               "--batch", str(BATCH), "--seq", str(SEQUENCE), "--vocab", str(options.vocab),
               "--student", options.student, "--teacher", options.teacher, "--device", "cpu"]
    start = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True)
    wall = time.monotonic() - start
    if result.returncode != 0:
        return None
    found = json.loads(result.stdout.strip().splitlines()[-1])
    step = BATCH * SEQUENCE / found["tokens_per_s"]
    # Three warming-up steps come before those that it counts.
    around = max(wall - (found["steps"] + 3) * step, 0.0)
    return {"mode": mode, "step": step, "around": around, "process": around + steps * step}


def time_points(options, figures):
    with tempfile.TemporaryDirectory(prefix="kdx-sweep-") as folder:
        folder = pathlib.Path(folder)
        write_data(folder / "train.jsonl", options.steps * BATCH, options.vocab)
        eight = folder / "eight.toml"
        write_experiment(eight, options, options.teacher, "hidden")
        figures["sweep"] = sweep(options, eight)
        text = eight.read_text()
        eight.write_text(text + '\n[[include]]\n"loss.temperature" = 3.0\n"loss.alpha" = 0.1\n')
        figures["ninth"] = sweep(options, eight)
        share = figures["ninth"] / figures["sweep"]
        print(f"8 points, {figures['steps_per_run']} steps each: {figures['sweep']:.1f} s")
        print(f"a ninth point: {figures['ninth']:.1f} s, {share:.2f} of the eight")


def time_peer(options, figures):
    runs = [run for mode in options.modes if (run := peer(options, mode, figures["steps_per_run"]))]
    if not runs:
        sys.exit("PyTorch failed in every mode")
    best = min(runs, key=lambda run: run["process"])
    figures["peer"] = runs
    figures["peer_eight"] = best["process"] * figures["points"]
    print(f"PyTorch ({best['mode']}), 8 times: {figures['peer_eight']:.1f} s "
          f"({best['around']:.1f} s around {figures['steps_per_run']} steps of {best['step']:.2f} s each)")
    print(f"ratio: {figures['sweep'] / figures['peer_eight']:.2f} of PyTorch's time")


def time_signals(options, figures):
    with tempfile.TemporaryDirectory(prefix="kdx-sweep-") as folder:
        folder = pathlib.Path(folder)
        write_data(folder / "train.jsonl", options.large_steps * BATCH, options.vocab)
        # The teacher is trained beforehand, so that neither side pays for that.
        first = folder / "first.toml"
        write_experiment(first, options, options.large_teacher, "online")
        first.write_text(first.read_text().split("[grid]")[0].replace(f"epochs = {EPOCHS}", "steps = 1"))
        sweep(options, first, "first")
        for signal in ("online", "hidden"):
            file = folder / f"{signal}.toml"
            write_experiment(file, options, options.large_teacher, signal)
            for record in (folder / "first/runs").glob("*/run.json"):
                if "teachers" not in json.loads(record.read_text())["spec"]["train"]:
                    shutil.copytree(record.parent, folder / signal / "runs" / record.parent.name)
            figures[f"large_{signal}"] = sweep(options, file, signal)
        ratio = figures["large_online"] / figures["large_hidden"]
        print(f"teacher {options.large_teacher}: online {figures['large_online']:.1f} s, "
              f"from the cache {figures['large_hidden']:.1f} s, {ratio:.2f} times faster")


def main():
    options = arguments()
    if os.getloadavg()[0] > 0.5:
        print(f"the machine is not idle (load {os.getloadavg()[0]:.2f}): figures will be off", file=sys.stderr)
    figures = {"steps_per_run": options.steps * EPOCHS, "points": len(TEMPERATURES) * len(ALPHAS)}
    if not {1, 2}.isdisjoint(options.questions):
        time_points(options, figures)
    if 1 in options.questions and options.python:
        time_peer(options, figures)
    if 3 in options.questions:
        time_signals(options, figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
