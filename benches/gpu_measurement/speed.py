"""Training steps of kdx and PyTorch, in turn on one device."""
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import threading
import time

from .runner import Failed, Skipped, stop, tail

PEER = pathlib.Path(__file__).resolve().parents[1] / "peer" / "pytorch_kd.py"
# With the ratio of speed to PyTorch's fastest, and of memory to its most frugal mode, that kdx is to reach.
SHAPES = {
    "512×8 / 768×16, batch 32 × 512": {
        "bench": {"student": "512x8", "teacher": "768x16", "vocab": 6400, "batch": 32, "seq": 512},
        "speed": 1.5, "memory": 0.5},
    "512×1 / 768×2, batch 32 × 512": {
        "bench": {"student": "512x1", "teacher": "768x2", "vocab": 6400, "batch": 32, "seq": 512},
        "speed": 3.0, "memory": 0.5},
}
SMALL = {
    "32×1 / 64×1, batch 2 × 32": {
        "bench": {"student": "32x1", "teacher": "64x1", "vocab": 128, "batch": 2, "seq": 32},
        "speed": None, "memory": None},
}
PEER_MODES = {"PyTorch bf16": ["--mode", "bf16"], "PyTorch bf16, compiled": ["--mode", "bf16", "--compile"]}
KDX_MODES = {"kdx bf16": ["--signal", "online"], "kdx bf16, cached teacher": ["--signal", "hidden"]}
# In turn, so that no side has a cooler device than the other.
ORDER = ["PyTorch bf16", "kdx bf16", "PyTorch bf16, compiled", "kdx bf16, cached teacher"]
# Seconds of one measurement at most; the first time, compiling kernels takes most of it.
LIMIT, LIMIT_FIRST = 60, 150
TIMED_OUT = "no end after"
ASK = """
import json, torch, transformers
print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, "cuda": torch.version.cuda,
                  "sees_cuda": torch.cuda.is_available()}))
"""


def shapes(args):
    return SMALL if args.small else SHAPES


def options(shape):
    return [word for name, value in shape["bench"].items() for word in (f"--{name}", str(value))]


def round_of(run, args, number):
    """Every mode at every shape, once each. A mode that failed before is not tried again, but one that only took too
    long is: some of its kernels are compiled by now."""
    for name, shape in shapes(args).items():
        for mode in ORDER:
            before = [step for step in run.results["steps"] if (step.get("mode"), step.get("shape")) == (mode, name)]
            if any(step["status"] == "skipped" or step["status"] == "failed" and not step["reason"].startswith(TIMED_OUT)
                   for step in before):
                continue
            limit = LIMIT if any(step["status"] == "done" for step in before) else LIMIT_FIRST
            # What a measurement needs besides its steps: starting, and compiling kernels.
            least = args.seconds + 10
            run.step(f"steps of {mode}, {name}, round {number}", limit, least,
                     lambda mode=mode, shape=shape: measured(run, args, mode, shape),
                     mode=mode, shape=name, round=number)
            run.results["comparison"] = comparison(run.results["steps"], shapes(args))
            run.write()


def measured(run, args, mode, shape):
    with sampled_memory(run, args) as sampled:
        if mode in PEER_MODES:
            printed = peer(run, args, [*options(shape), "--seconds", str(args.seconds), *PEER_MODES[mode]])
            figures = {"tokens_per_second": printed["tokens_per_s"], "memory_mib": printed["peak_mib"]}
        else:
            printed = kdx(run, args, [*options(shape), *KDX_MODES[mode], "--seconds", str(args.seconds), "--no-ceilings"])
            memory = printed["device_memory"]
            figures = {
                "tokens_per_second": printed["tokens_per_second"]["median"],
                "memory_mib": memory["reserved_mib"] if memory else printed["peak_memory_mib"],
            }
    return {**figures, "sampled_memory_mib": sampled.get("mib"), "printed": printed}


def ceilings(run, args):
    """How fast the device multiplies matrices and moves memory, as kdx finds it."""
    printed = kdx(run, args, [*options(SMALL["32×1 / 64×1, batch 2 × 32"]), "--seconds", "0", "--log-every", "1"])
    return {key: printed[key] for key in ("matrix_product", "burn_product", "memory_bandwidth")}


def kdx(run, args, words):
    command = [args.kdx, "bench", "--json", "--device", args.device, "--precision", "bf16", *words]
    command += ["--warmup", "2" if args.small else "5"]
    return parsed(run.command(command, cwd=run.work), command)


def peer(run, args, words):
    device = peer_device(run, args)
    command = [args.python, PEER, *words, "--device", device]
    return parsed(run.command(command, env=peer_environment(run, args), cwd=run.work), command)


def parsed(done, command):
    out, both, _ = done
    try:
        # PyTorch may print before its line; kdx prints one object of many lines.
        return json.loads(out if out.lstrip().startswith("{") else out.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise Failed("it printed no JSON", command=" ".join(map(str, command)), exit_code=0, output_tail=tail(both))


def peer_environment(run, args):
    """The same GPU, and compiled kernels where a later round finds them."""
    env = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(run.caches / "inductor"), "TRITON_CACHE_DIR": str(run.caches / "triton")}
    interface, _, index = args.device.partition(":")
    if interface == "cuda":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        index = int(index or 0)
        env["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index] if visible else str(index)
    return env


def peer_device(run, args):
    """Where PyTorch computes, or why it does not; asked once."""
    if "peer" not in run.results:
        command = [args.python, "-c", ASK]
        try:
            out, _, _ = run.command(command, limit=60, env=peer_environment(run, args))
            found = json.loads(out.strip().splitlines()[-1])
            device = "cuda" if found["sees_cuda"] and args.device != "cpu" else "cpu"
            why = None
            if device == "cpu" and args.device != "cpu" and not args.small:
                why = "PyTorch is there, but sees no CUDA device"
            run.results["peer"] = {"device": device, "why_not": why, **found}
        except Failed as failure:
            last = failure.details["output_tail"].splitlines()[-1:] or [str(failure)]
            run.results["peer"] = {"device": None, "why_not": f"no torch and transformers in {args.python}: {last[0]}"}
    if run.results["peer"]["why_not"]:
        raise Skipped(run.results["peer"]["why_not"])
    return run.results["peer"]["device"]


@contextlib.contextmanager
def compiled_beforehand(run, args):
    """Lets PyTorch compile its models while steps run that are not timed, so that it is quick when it is."""
    started = []
    run.limit = run.deadline
    try:
        # On few processors it would only slow down the others.
        if not args.small and args.device != "cpu" and "steps" in args.only:
            device = peer_device(run, args)
            for shape in shapes(args).values():
                command = [args.python, PEER, *options(shape), "--seconds", "0.1", *PEER_MODES["PyTorch bf16, compiled"],
                           "--device", device]
                started.append(run.start(command, env=peer_environment(run, args), cwd=run.work,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    except (Skipped, Failed):
        # The steps that need it say so.
        pass
    yield
    for process in started:
        # It is only a help: what it has not compiled by now is compiled when it is measured.
        try:
            process.wait(max(min(60, run.left() - 240), 0.1))
        except subprocess.TimeoutExpired:
            stop(process)
        run.running.remove(process)


@contextlib.contextmanager
def sampled_memory(run, args):
    """Most memory of the GPU in use meanwhile, less what was in use before: with what the driver takes."""
    found = {}
    interface, _, index = args.device.partition(":")
    if interface != "cuda":
        yield found
        return
    command = ["nvidia-smi", "-i", peer_environment(run, args)["CUDA_VISIBLE_DEVICES"], "--query-gpu=memory.used",
               "--format=csv,noheader,nounits", "-lms", "200"]
    try:
        sampler = run.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except Failed:
        yield found
        return
    samples = []

    def collect():
        for line in sampler.stdout:
            if line.strip().isdigit():
                samples.append(int(line))

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()
    # What is in use before is the first that it sees.
    for _ in range(50):
        if samples or sampler.poll() is not None:
            break
        time.sleep(0.1)
    try:
        yield found
    finally:
        stop(sampler)
        reader.join(2)
        run.running.remove(sampler)
        if samples:
            found["mib"] = max(samples) - samples[0]


def comparison(steps, shapes):
    """Medians over the rounds, and ratios to PyTorch."""
    result = []
    for name, shape in shapes.items():
        modes = {}
        for mode in ORDER:
            done = [step["result"] for step in steps
                    if (step.get("mode"), step.get("shape"), step["status"]) == (mode, name, "done")]
            if not done:
                continue
            figure = lambda key: [one[key] for one in done if one[key] is not None]
            middle = lambda values: statistics.median(values) if values else None
            modes[mode] = {
                "rounds": len(done),
                "tokens_per_second": middle(figure("tokens_per_second")),
                "slowest": min(figure("tokens_per_second")), "fastest": max(figure("tokens_per_second")),
                "memory_mib": middle(figure("memory_mib")),
                "sampled_memory_mib": middle(figure("sampled_memory_mib")),
            }
        peers = [modes[mode] for mode in PEER_MODES if mode in modes]
        best = max((peer["tokens_per_second"] for peer in peers), default=None)
        for mode in KDX_MODES:
            if mode in modes and best:
                ours = modes[mode]
                ours["speed_ratio"] = ours["tokens_per_second"] / best
                for key in ("memory_mib", "sampled_memory_mib"):
                    least = min((peer[key] for peer in peers if peer[key]), default=None)
                    ours[key.replace("mib", "ratio")] = ours[key] / least if least and ours[key] else None
        result.append({"shape": name, "modes": modes, "wanted_speed": shape["speed"], "wanted_memory": shape["memory"]})
    return result
