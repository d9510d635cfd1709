"""kdx beside PyTorch: the same training step, measured in turn on the same machine, in one go.

    python3 benches/speed.py --python VENV/bin/python [--kdx target/release/kdx] [--rounds 3] [--seconds 15]
                             [--markdown FILE] [--json FILE]

Runs `kdx bench` and benches/peer/pytorch_kd.py one after the other, every mode once a round, and prints
medians over the rounds with their ratios: of speed to the fastest mode of PyTorch (and of fp32 to its fp32),
of peak memory to its most frugal mode. Needs nothing but Python 3.11; `--python` names one that has torch and transformers.

Only an idle machine gives figures that mean something, so a busy one is refused unless `--busy-ok` is given.
A mode that fails is shown as failed, and the rest goes on.
"""
import argparse, datetime, json, os, pathlib, platform, shlex, statistics, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Student, teacher, vocabulary, batch, sequence.
SHAPES = ["512x1/768x2/6400/8/512", "512x8/768x16/6400/4/512", "512x1/768x2/49152/2/512"]
PEER_MODES = {
    "PyTorch fp32": ["--mode", "fp32"],
    "PyTorch bf16": ["--mode", "bf16"],
    "PyTorch bf16, compiled": ["--mode", "bf16", "--compile"],
}
KDX_MODES = {
    "kdx fp32": ["--precision", "fp32", "--signal", "online"],
    "kdx fp32, cached teacher": ["--precision", "fp32", "--signal", "hidden"],
    "kdx bf16": ["--precision", "bf16", "--signal", "online"],
    "kdx bf16, cached teacher": ["--precision", "bf16", "--signal", "hidden"],
}
PEER_FP32 = "PyTorch fp32"
# A machine on which this much runs besides us is not idle: processes waiting to run, share of all processors.
IDLE_LOAD, IDLE_SHARE = 0.5, 0.1


class Failed(Exception):
    """A measurement that gave no figures."""


def shape(text):
    parts = text.split("/")
    if len(parts) != 5 or not all(part.isdigit() for part in parts[2:]):
        raise argparse.ArgumentTypeError(f"expected STUDENT/TEACHER/VOCAB/BATCH/SEQ, as {SHAPES[0]}, not {text}")
    return dict(zip(["student", "teacher", "vocab", "batch", "seq"], parts))


def arguments():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kdx", type=pathlib.Path, default=target / "release" / "kdx", help="the kdx binary")
    parser.add_argument("--python", default=sys.executable, help="a Python that has torch and transformers")
    parser.add_argument("--peer", type=pathlib.Path, default=ROOT / "benches" / "peer" / "pytorch_kd.py")
    parser.add_argument("--shape", type=shape, action="append", metavar="STUDENT/TEACHER/VOCAB/BATCH/SEQ",
                        help="may be given several times; default " + ", ".join(SHAPES))
    parser.add_argument("--mode", action="append", choices=[*PEER_MODES, *KDX_MODES], metavar="MODE",
                        help="may be given several times; default all: " + "; ".join([*PEER_MODES, *KDX_MODES]))
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each mode")
    parser.add_argument("--seconds", type=float, default=15.0, help="duration of a measurement")
    parser.add_argument("--warmup", type=int, default=3, help="steps of kdx before a measurement; PyTorch takes 3")
    parser.add_argument("--markdown", type=pathlib.Path, help="write the tables here; default standard output")
    parser.add_argument("--json", type=pathlib.Path, help="write every measurement here")
    parser.add_argument("--busy-ok", action="store_true", help="measure on a busy machine all the same")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds <= 0 or args.warmup < 0:
        parser.error("--rounds and --seconds must be above 0, --warmup not below")
    if not args.kdx.is_file():
        parser.error(f"no kdx at {args.kdx}: run `cargo build --release`, or name it with --kdx")
    args.shape = args.shape or [shape(text) for text in SHAPES]
    args.mode = args.mode or interleaved(list(PEER_MODES), list(KDX_MODES))
    return args


def interleaved(a, b):
    """In turn, so that neither side has the machine's better half of an hour."""
    pairs = [mode for pair in zip(a, b) for mode in pair]
    return pairs + a[len(b):] + b[len(a):]


def processor_ticks():
    """Idle and all ticks of all processors; none where the system does not say."""
    try:
        fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return None
    ticks = [int(field) for field in fields]
    return ticks[3] + ticks[4], sum(ticks)


def busy_share(seconds=1.0):
    """The share of all processors that others use now; none where the system does not say."""
    before = processor_ticks()
    time.sleep(seconds)
    after = processor_ticks()
    if before is None or after is None or after[1] == before[1]:
        return None
    return 1 - (after[0] - before[0]) / (after[1] - before[1])


def check_idle(busy_ok):
    """Refuses, or warns of, a machine that does something else. Gives what it found."""
    load, share = os.getloadavg()[0], busy_share()
    found = {"load_average": load, "busy_share": share}
    if load > IDLE_LOAD or (share or 0) > IDLE_SHARE:
        busy = f"load average {load:.2f}" + ("" if share is None else f", {100 * share:.0f} % of the processors in use")
        print(f"warning: the machine is not idle: {busy}", file=sys.stderr)
        if not busy_ok:
            sys.exit("figures taken now would mean nothing; wait, or give --busy-ok")
    return found


def run(command, limit):
    """The JSON object that a command prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise Failed(f"no result after {limit:.0f} s") from None
    except OSError as error:
        raise Failed(str(error)) from None
    if done.returncode != 0:
        raise Failed(reason(done.stderr) or f"exit code {done.returncode}")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Failed("it printed no JSON") from None


def reason(stderr):
    """The line of an error output that says the most: the last that names an error, else the last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if "error" in line.lower() or line.startswith("×")]
    return (named or lines or [""])[-1].removeprefix("error: ")[:200]


def measure(args, mode, shape):
    options = [word for name, value in shape.items() for word in (f"--{name}", value)]
    options += ["--seconds", str(args.seconds), "--device", "cpu"]
    # Compiling and a few slow steps take their time.
    limit = 900 + 20 * args.seconds
    if mode in PEER_MODES:
        printed = run([args.python, str(args.peer), *options, *PEER_MODES[mode]], limit)
        speed, memory = printed["tokens_per_s"], printed["peak_mib"]
    else:
        warmup = ["--warmup", str(args.warmup)]
        printed = run([str(args.kdx), "bench", "--json", *options, *warmup, *KDX_MODES[mode]], limit)
        speed, memory = printed["tokens_per_second"]["median"], printed["peak_memory_mib"]
    return {"tokens_per_second": speed, "peak_memory_mib": memory, "printed": printed}


def measure_shape(args, shape):
    """Every measurement of every mode; a mode that fails is not tried again."""
    modes = {mode: {"mode": mode, "measurements": [], "failed": None} for mode in args.mode}
    for number in range(args.rounds):
        for mode, entry in modes.items():
            if entry["failed"]:
                continue
            others = busy_share()
            try:
                measurement = measure(args, mode, shape)
                entry["measurements"].append({**measurement, "busy_share_before": others})
                outcome = f"{measurement['tokens_per_second']:,.0f} tokens/s"
            except Failed as failure:
                entry["failed"] = str(failure)
                outcome = f"failed: {failure}"
            busy = "" if (others or 0) <= IDLE_SHARE else f" (warning: {100 * others:.0f} % of the processors in use)"
            print(f"round {number + 1}, {name_of(shape)}: {mode}: {outcome}{busy}", file=sys.stderr)
    return {"shape": shape, "modes": list(modes.values())}


def summarize(result):
    """Medians over the rounds, and ratios."""
    for entry in result["modes"]:
        if entry["failed"] or not entry["measurements"]:
            continue
        speeds = [one["tokens_per_second"] for one in entry["measurements"]]
        memory = [one["peak_memory_mib"] for one in entry["measurements"] if one["peak_memory_mib"]]
        entry["tokens_per_second"] = statistics.median(speeds)
        entry["slowest"], entry["fastest"] = min(speeds), max(speeds)
        entry["peak_memory_mib"] = statistics.median(memory) if memory else None
    done = [entry for entry in result["modes"] if "tokens_per_second" in entry]
    peers = [entry for entry in done if entry["mode"] in PEER_MODES]
    best = max((entry["tokens_per_second"] for entry in peers), default=None)
    least = min((entry["peak_memory_mib"] for entry in peers if entry["peak_memory_mib"]), default=None)
    fp32 = next((entry["tokens_per_second"] for entry in peers if entry["mode"] == PEER_FP32), None)
    for entry in done:
        speed, memory = entry["tokens_per_second"], entry["peak_memory_mib"]
        entry["to_best"] = speed / best if best else None
        entry["to_fp32"] = speed / fp32 if fp32 and "fp32" in entry["mode"] else None
        entry["memory_to_least"] = memory / least if least and memory else None
    return result


def name_of(shape):
    return (f"student {shape['student']}, teacher {shape['teacher']}, vocabulary {int(shape['vocab']):,}, "
            f"batch {shape['batch']} × {shape['seq']}")


def markdown(report):
    machine = report["machine"]
    lines = [
        f"{machine['processor']}, {machine['processors']} processors, {machine['system']}; "
        f"{report['kdx']}, {report['torch'] or 'no torch'}; {report['date']}; "
        f"load average before {report['idle']['load_average']:.2f}. {report['instructions']}",
        "",
        f"`{report['command']}`: {report['rounds']} rounds of {report['seconds']:g} s, medians over the rounds "
        "(with the slowest and the fastest).",
    ]
    ratio = lambda value: "–" if value is None else f"{value:.2f} ×"
    for result in report["shapes"]:
        lines += ["", f"**{name_of(result['shape'])}**", "",
                  "| | tokens/s | to PyTorch's fastest | fp32 to fp32 | peak memory, MiB | to PyTorch's least |",
                  "| --- | ---: | ---: | ---: | ---: | ---: |"]
        for entry in sorted(result["modes"], key=lambda entry: entry["mode"] in KDX_MODES):
            if "tokens_per_second" not in entry:
                why = (entry["failed"] or "not measured").replace("|", "\\|")
                lines.append(f"| {entry['mode']} | failed: {why} | – | – | – | – |")
                continue
            memory = entry["peak_memory_mib"]
            lines.append(
                f"| {entry['mode']} | {entry['tokens_per_second']:,.0f} "
                f"({entry['slowest']:,.0f}–{entry['fastest']:,.0f}) | {ratio(entry['to_best'])} | "
                f"{ratio(entry['to_fp32'])} | {'–' if memory is None else f'{memory:,.0f}'} | "
                f"{ratio(entry['memory_to_least'])} |")
    return "\n".join(lines) + "\n"


def instructions(results):
    """What kdx says of the machine."""
    ones = [one["printed"] for result in results for entry in result["modes"] if entry["mode"] in KDX_MODES
            for one in entry["measurements"]]
    if not ones:
        return ""
    fastest = {key: max(one["matrix_product"][key] for one in ones) for key in ["fp32", "bf16"]}
    return (f"kdx ran on {ones[0]['isa']} with {ones[0]['threads']} threads; its matrix product reaches "
            f"{fastest['fp32']:,.0f} GFLOP/s in fp32 and {fastest['bf16']:,.0f} in bf16.")


def torch_of(results):
    versions = [one["printed"]["version"] for result in results for entry in result["modes"]
                if entry["mode"] in PEER_MODES for one in entry["measurements"]]
    return f"torch {versions[0]}" if versions else None


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main():
    args = arguments()
    report = {
        "command": shlex.join(["python3", "benches/speed.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": {"processor": processor(), "processors": len(os.sched_getaffinity(0)), "system": platform.platform()},
        "kdx": subprocess.run([args.kdx, "--version"], capture_output=True, text=True).stdout.strip(),
        "rounds": args.rounds,
        "seconds": args.seconds,
        "idle": check_idle(args.busy_ok),
        "shapes": [],
    }
    for shape in args.shape:
        report["shapes"].append(summarize(measure_shape(args, shape)))
        report["torch"], report["instructions"] = torch_of(report["shapes"]), instructions(report["shapes"])
        # After each set of shapes, so that one that takes too long costs nothing of the others.
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n")
        if args.markdown:
            args.markdown.write_text(markdown(report))
    if not args.markdown:
        print(markdown(report), end="")


if __name__ == "__main__":
    main()
