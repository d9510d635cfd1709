#!/usr/bin/env python3
"""Sweeps on a disk that is full, and then has room again.

    sudo python3 tests/full_disk.py [--kdx target/release/kdx] [--sizes 8] [--seed 0]

A small tmpfs is mounted and a sweep begun on it, over and over, at sizes between what the plan takes and what
the whole sweep takes: so the disk fills while the signal cache, metrics, checkpoints, models or statuses are
written. Each sweep must fail, say that the disk is full, name a file of the store and say what to do; with room
again the same command must finish, with the metrics and models of an undisturbed sweep, byte for byte, and
nothing may be left behind. Exit code 0 where all that is so, and where the mount is refused (it needs root).
"""

import argparse
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import torture

SIZE_ENOUGH = 256 << 20


def run(arguments, store, experiment):
    """Exit code and output of a sweep."""
    command = [arguments.kdx, "--store", store, "sweep", experiment, "--jobs", "2"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=torture.ENVIRONMENT, timeout=600
    )
    return done.returncode, done.stdout + done.stderr


def mount(size, at):
    options = f"size={size}"
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "kdx", at], capture_output=True, text=True)


def used(directory):
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def problems_of_failure(code, output, disk):
    """What is wrong with how a sweep on a full disk ended."""
    wrong = []
    if code <= 0 or code > 2:
        wrong.append(f"it ended with exit code {code}")
    if "panicked" in output:
        wrong.append("it panicked")
    # The signal cache says how much room it needs, everything else that there is none.
    said = [line for line in output.splitlines() if "disk is full" in line or "no room for" in line]
    if not said:
        wrong.append("it does not say that the disk is full")
    elif not any(str(disk) in line for line in said):
        wrong.append("it names no file")
    if "kdx gc" not in output and "kdx cache gc" not in output:
        wrong.append("it does not say what to do")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kdx", default=str(torture.ROOT / "target/release/kdx"), help="the program")
    parser.add_argument("--sizes", type=int, default=8, help="sizes of the disk")
    parser.add_argument("--seed", type=int, default=0, help="of the sizes")
    parser.add_argument("--steps", type=int, default=300, help="optimizer steps of a run")
    arguments = parser.parse_args()
    arguments.kdx = str(pathlib.Path(arguments.kdx).resolve())
    rng = random.Random(arguments.seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kdx-full-disk-"))
    disk = folder / "disk"
    disk.mkdir()
    refused = mount(SIZE_ENOUGH, disk)
    if refused.returncode != 0:
        print(f"skipped: a tmpfs cannot be mounted here: {refused.stderr.strip()}")
        shutil.rmtree(folder)
        return 0

    experiment = folder / "full.toml"
    text = torture.EXPERIMENT.format(
        toydata=torture.ROOT / "toydata", steps=arguments.steps, teacher_steps=arguments.steps
    )
    experiment.write_text(text.replace("attempts = 1000", "attempts = 1"))
    wrong, failures, places = [], 0, set()
    try:
        undisturbed = disk / "undisturbed"
        code, output = run(arguments, undisturbed, experiment)
        if code != 0:
            sys.exit(f"the undisturbed sweep failed:\n{output}")
        expected = torture.results(undisturbed)
        whole = used(undisturbed)
        shutil.rmtree(undisturbed)
        print(f"undisturbed: {whole >> 10} KiB", flush=True)
        for index in range(arguments.sizes):
            subprocess.run(["umount", disk], check=True)
            # One in each part of the range, in pages. While runs are under way they take more than is left of them.
            share = (index + rng.random()) / arguments.sizes
            size = int(whole * (0.1 + 1.4 * share)) // 4096 * 4096
            mount(size, disk)
            store = disk / "store"
            code, output = run(arguments, store, experiment)
            found = [] if code == 0 else problems_of_failure(code, output, disk)
            failures += code != 0
            places |= {line.split(str(store))[1].split()[0].rstrip(":;") for line in output.splitlines()
                       if "disk is full" in line and str(store) in line}
            subprocess.run(["mount", "-o", f"remount,size={SIZE_ENOUGH}", disk], check=True)
            again, output_again = run(arguments, store, experiment)
            if again != 0:
                found.append(f"with room again it ended with exit code {again}:\n{output_again}")
            else:
                torture.collect(arguments, store)
                found += torture.problems(store, expected)
            if found:
                wrong += [f"{size >> 10} KiB: {problem}" for problem in found] + [output]
            print(f"{size >> 10} KiB: exit code {code}, then {again}", flush=True)
    finally:
        subprocess.run(["umount", disk], check=False)
    shutil.rmtree(folder)
    print(f"{failures} of {arguments.sizes} sweeps met a full disk, at {len(places)} files")
    for place in sorted(places):
        print(f"  {place}")
    for problem in wrong:
        print(f"WRONG: {problem}")
    if failures == 0:
        print("WRONG: no sweep met a full disk")
    return 1 if wrong or failures == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
