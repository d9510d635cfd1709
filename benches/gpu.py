#!/usr/bin/env python3
"""Everything that kdx is measured for on a GPU, in one call that ends within its time.

    python3 benches/gpu.py pack --output kdx-gpu.tar.xz          # where kdx is built, with --features cuda
    python3 benches/gpu.py measure --device cuda:0               # where the GPU is
    python3 benches/gpu.py measure --device cpu --small          # does the script itself work? seconds, no figures

`pack` puts the stripped kdx and test binaries, this script, the PyTorch peer and the reference numbers into one
archive; `tar xf` it elsewhere and run `measure` in what it holds. `measure` needs Python 3.10 and no network; the
comparison with PyTorch needs a Python that has torch and transformers (--python), and is skipped with the reason
where there is none.

Steps go by importance, each with a limit of its own: the environment; reference numbers; a sweep that is killed and
resumed; training steps of kdx and PyTorch in turn; what the device reaches at most; runs packed onto it; all
operations against their references; more rounds of the training steps. A step that fails, with its command, exit
code and last lines, stops nothing; one that does not fit into the time is written down as not measured. Results are
in --output, as JSON and as a page, rewritten after each step. Exit code 1 where a step failed.
"""
import argparse
import contextlib
import os
import pathlib
import signal
import subprocess
import sys

from gpu_measurement import correctness, pack, speed, sweeps
from gpu_measurement.runner import Runner, Skipped

PARTS = ["environment", "numbers", "sweep", "steps", "ceilings", "packing", "operations"]
ROOT = pathlib.Path(__file__).resolve().parent.parent


def arguments():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    binary = lambda name, built: ROOT / name if (ROOT / name).is_file() else built
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kdx", type=pathlib.Path, default=binary("kdx", target / "kdx"), help="the kdx binary")
    parser.add_argument("--tests", type=pathlib.Path, default=binary("it", None),
                        help="the test binary `it`; default the newest that cargo built")
    commands = parser.add_subparsers(dest="command", required=True)

    packing = commands.add_parser("pack", help="put all that the measurement needs into one archive")
    packing.add_argument("--output", type=pathlib.Path, default=pathlib.Path("kdx-gpu.tar.xz"))

    measuring = commands.add_parser("measure", help="run the measurement")
    measuring.add_argument("--device", default="cuda:0", help="as `kdx devices` names it (default: cuda:0)")
    measuring.add_argument("--minutes", type=float, default=9.0, help="the whole time (default: 9)")
    measuring.add_argument("--output", type=pathlib.Path, default=pathlib.Path("gpu-results"),
                           help="folder of results.json and results.md (default: gpu-results)")
    measuring.add_argument("--python", default=sys.executable, help="a Python that has torch and transformers")
    measuring.add_argument("--seconds", type=float, default=8.0, help="of each measurement of steps (default: 8)")
    measuring.add_argument("--rounds", type=int, default=3, help="rounds of those, if they fit (default: 3)")
    measuring.add_argument("--jobs", type=int, default=8, help="runs at once in the sweep that is killed (default: 8)")
    measuring.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART",
                           help="some of: " + ", ".join(PARTS) + " (default: all)")
    measuring.add_argument("--small", action="store_true", help="tiny sizes, to try out the script: no figures")
    args = parser.parse_args()

    if args.tests is None:
        built = sorted((target / "deps").glob("it-*"), key=lambda path: path.stat().st_mtime)
        built = [path for path in built if not path.suffix and os.access(path, os.X_OK)]
        args.tests = built[-1] if built else pathlib.Path("it")
    if not args.kdx.is_file():
        parser.error(f"no kdx at {args.kdx}: run `cargo build --release --features cuda`, or name it with --kdx")
    args.kdx, args.tests = args.kdx.resolve(), args.tests.resolve()
    if args.command == "measure" and (args.minutes <= 0 or args.seconds <= 0 or args.rounds < 1 or args.jobs < 1):
        parser.error("--minutes and --seconds must be above 0, --rounds and --jobs at least 1")
    return args


def environment(run, args):
    """What the machine is; none of it is needed by the other steps."""
    found = {}
    wanted = {
        "gpu": ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.used,compute_cap,clocks.max.sm,"
                "power.limit,ecc.mode.current", "--format=csv,noheader"],
        "cuda": ["nvidia-smi"],
        "libraries": ["sh", "-c", "ldconfig -p | grep -E 'libcuda\\.|libnvrtc|libvulkan\\.|libnvidia-ml' || true"],
        "toolkit": ["sh", "-c", "ls -d /usr/local/cuda* 2>/dev/null; nvcc --version 2>/dev/null | tail -n 2;"
                    "echo CUDA_PATH=$CUDA_PATH;"
                    "find /usr/include /usr/lib /usr/local /opt -name cuda_bf16.h -o -name 'libnvrtc*.so*' 2>/dev/null"],
        "devices": [args.kdx, "devices"],
        "system": ["sh", "-c", "uname -srm; . /etc/os-release && echo $PRETTY_NAME; nproc; "
                   "grep MemTotal /proc/meminfo"],
    }
    for name, command in wanted.items():
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=min(60, max(run.left(), 1)))
            found[name] = (done.stdout.strip() or done.stderr.strip())[-3000:]
        except (OSError, subprocess.TimeoutExpired) as error:
            found[name] = f"failed: {error}"
    with contextlib.suppress(Skipped):
        speed.peer_device(run, args)
    return found


def plan(run, args):
    """The parts in their order, each with the seconds that it may take and those without which it is not begun."""
    step = lambda name, limit, least, work: lambda: run.step(name, limit, least, lambda: work(run, args))
    yield "environment", step("environment", 60, 1, environment)
    with speed.compiled_beforehand(run, args):
        yield "numbers", step("reference numbers", 150, 10, correctness.golden)
        yield "sweep", step("a sweep killed and resumed", 200, 20, sweeps.killed_and_resumed)
    yield "steps", lambda: speed.round_of(run, args, 1)
    yield "ceilings", step("ceilings", 60, 10, speed.ceilings)
    yield "packing", step("runs packed onto the device", 130, 20, sweeps.packed)
    yield "operations", step("operations", 120, 20, correctness.operations)
    for number in range(2, args.rounds + 1):
        yield "steps", lambda number=number: speed.round_of(run, args, number)


def measure(args):
    version = subprocess.run([args.kdx, "--version"], capture_output=True, text=True)
    run = Runner(args.output, args.minutes, {
        "kdx": version.stdout.strip() or version.stderr.strip(),
        "device": args.device, "small": args.small, "seconds": args.seconds,
        "shapes": {name: shape["bench"] for name, shape in speed.shapes(args).items()},
    })
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for part, work in plan(run, args):
            if part in args.only:
                work()
    finally:
        run.finish()
    print(run.page.read_text(), end="")
    return 1 if run.has_failed() else 0


def main():
    args = arguments()
    if args.command == "pack":
        pack.pack(args, ROOT)
        return 0
    return measure(args)


if __name__ == "__main__":
    sys.exit(main())
