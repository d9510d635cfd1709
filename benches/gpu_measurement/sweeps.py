"""Whole sweeps on the device: killed and resumed, and with several runs at once."""
import json
import os
import shutil
import statistics
import subprocess
import time

from .runner import Failed, kill_all, tail

SIZES = {"length": 96, "batch": 32, "teacher": 128, "layers": 3, "student": 64, "teacher_steps": 100, "log_every": 10}
SMALL = {"length": 24, "batch": 2, "teacher": 16, "layers": 1, "student": 16, "teacher_steps": 2, "log_every": 2}

# Seconds after which what a killed process held is free.
ENVIRONMENT = os.environ | {"KDX_LEASE_SECONDS": "2"}
# Runs at once, and whether they are threads of one process.
AT_ONCE = [(1, False), (16, False), (16, True), (8, True), (8, False), (4, True), (4, False)]

EXPERIMENT = """\
[data]
train = "toydata/train.jsonl"
tokenizer = "toydata/tokenizer"
max_length = {length}

[teacher]
hidden_size = {teacher}
layers = {layers}
heads = 4
signal = "{signal}"
[teacher.train]
steps = {teacher_steps}
batch_size = {batch}
checkpoint_every = 0.5

[student]
hidden_size = {student}
layers = 1
heads = 4

[train]
steps = {steps}
batch_size = {batch}
log_every = {log_every}
checkpoint_every = {checkpoint_every}
precision = "bf16"

[grid]
{grid}
"""


def toydata(run, args):
    if not (run.work / "toydata").exists():
        size = ["--train", "40", "--validation", "4"] if args.small else ["--train", "2000", "--validation", "100"]
        run.command([args.kdx, "toydata", "--output", "toydata", *size], cwd=run.work)


def experiment(run, args, name, grid, signal, steps, checkpoint_every):
    grid = "\n".join(f'"{key}" = {json.dumps(values)}' for key, values in grid.items())
    sizes = SMALL if args.small else SIZES
    text = EXPERIMENT.format(grid=grid, signal=signal, steps=steps, checkpoint_every=checkpoint_every, **sizes)
    (run.work / f"{name}.toml").write_text(text)


def sweep(args, name, store, jobs, shared=False):
    command = [args.kdx, "--store", store, "sweep", f"{name}.toml", "--devices", args.device, "--jobs", jobs]
    return command + (["--set", "resources.share_process=true"] if shared else [])


def runs(store):
    """The directories of a store's students."""
    is_taught = lambda path: "teachers" in json.loads(path.read_text())["spec"]["train"]
    return sorted(path.parent for path in store.glob("runs/*/run.json") if is_taught(path))


def finished(store):
    """Those that are done."""
    return [path for path in runs(store) if (path / "summary.json").exists()]


def killed_and_resumed(run, args):
    """16 runs, undisturbed and killed once in the middle: every byte of metrics and models is to be the same."""
    toydata(run, args)
    temperatures, alphas = ([1.0, 2.0], [0.5]) if args.small else ([1.0, 1.5, 2.0, 4.0], [0.1, 0.5])
    grid = {"train.precision": ["fp32", "bf16"], "loss.temperature": temperatures, "loss.alpha": alphas}
    steps = 200 if not args.small else 400 if args.device == "cpu" else 12
    total = 2 * len(temperatures) * len(alphas)
    experiment(run, args, "killed", grid, "online", steps, 0.02 if args.small else 0.2)

    _, _, undisturbed = run.command(sweep(args, "killed", "undisturbed", args.jobs), cwd=run.work, env=ENVIRONMENT)
    expected = contents(run.work / "undisturbed")
    if len(expected) != total:
        raise Failed(f"{len(expected)} of {total} runs are there after an undisturbed sweep")

    command, store = sweep(args, "killed", "disturbed", args.jobs), run.work / "disturbed"
    # In the middle; on a machine that is through before one looks, as soon as something is begun.
    if not any(killed(run, command, store, done) for done in (total // 3, 0)):
        raise Failed("the sweep was over before it could be killed, twice")
    done, begun = finished(store), runs(store)
    checkpoints = sum((path / "checkpoint" / "checkpoint.json").exists() for path in set(begun) - set(done))

    _, text, resumed = run.command(command, cwd=run.work, env=ENVIRONMENT)
    found = contents(store)
    different = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    result = {
        "runs": total, "at_once": args.jobs, "done_when_killed": len(done), "checkpoints_when_killed": checkpoints,
        "undisturbed_seconds": round(undisturbed, 1), "resumed_seconds": round(resumed, 1),
        "different": [describe(store, name) for name in different],
    }
    if different:
        raise Failed(f"{len(different)} of {total} runs differ", result=result, output_tail=tail(text))
    return result


def killed(run, command, store, least_done):
    """Begins a sweep anew and ends it, workers and all, when so many runs are done and another is begun; false where all
    were done before."""
    shutil.rmtree(store, ignore_errors=True)
    process = run.start(command, cwd=run.work, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and run.step_left() > 1:
        done = [(path / "summary.json").exists() for path in runs(store) if (path / "metrics.jsonl").exists()]
        if sum(done) >= least_done and not all(done):
            break
        time.sleep(0.005)
    kill_all(process)
    run.running.remove(process)
    return len(finished(store)) < len(runs(store))


def contents(store):
    """The metrics and the model of every finished run, by its name."""
    found = {}
    for path in finished(store):
        files = [path / "metrics.jsonl", path / "model" / "model.safetensors"]
        found[path.name] = [file.read_bytes() for file in files]
    return found


def describe(store, name):
    """A run by what sets it apart."""
    for path in runs(store):
        if path.name == name:
            config = json.loads((path / "run.json").read_text())["spec"]["train"]
            return {"run": name, "precision": config.get("train", {}).get("precision"), "loss": config.get("loss")}
    return {"run": name}


def packed(run, args):
    """Runs of one size, one after another and several at once, each in a process of its own and all in one: tokens by the
    time of the whole sweep."""
    toydata(run, args)
    steps = 6 if args.small else 400
    at_once = AT_ONCE[:3] if args.small else AT_ONCE
    if args.device == "cpu":
        # There every run has a process of its own.
        at_once = [(count, shared) for count, shared in at_once if not shared]
    # The teacher, its signal and the kernels are there before the clock starts.
    experiment(run, args, "first", {"train.seed": [1]}, "hidden", steps, 0)
    run.command(sweep(args, "first", "packed", 1), cwd=run.work, env=ENVIRONMENT)
    figures = []
    seed = 100
    for count, shared in at_once:
        number = 2 if args.small else max(count, 3)
        name, place = f"packed{seed}", {"at_once": count, "one_process": shared}
        experiment(run, args, name, {"train.seed": list(range(seed, seed + number))}, "hidden", steps, 0)
        seed += number
        before = set(runs(run.work / "packed"))
        try:
            _, _, seconds = run.command(sweep(args, name, "packed", count, shared), cwd=run.work, env=ENVIRONMENT)
        except Failed as failure:
            # What was measured before stays.
            kept = ("command", "exit_code", "output_tail")
            details = {key: value for key, value in failure.details.items() if key in kept}
            figures.append({**place, "failed": str(failure), **details})
            continue
        summaries = [json.loads((path / "summary.json").read_text()) for path in set(runs(run.work / "packed")) - before]
        alone = statistics.median(summary["tokens_per_second"] for summary in summaries) if summaries else None
        figures.append({**place, "runs": number, "seconds": round(seconds, 2), "runs_per_second": number / seconds,
                        "tokens_per_second_of_a_run": alone})
    one_by_one = next((one["runs_per_second"] for one in figures if one["at_once"] == 1 and "runs_per_second" in one), None)
    for one in figures:
        if one_by_one and "runs_per_second" in one:
            one["ratio"] = one["runs_per_second"] / one_by_one
    if not any("runs_per_second" in one for one in figures):
        raise Failed("no sweep came to its end", result={"steps_per_run": steps, "figures": figures})
    return {"steps_per_run": steps, "figures": figures}
