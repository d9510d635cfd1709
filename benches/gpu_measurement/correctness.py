"""The tests on the device: reference numbers first, then every operation."""
import os
import pathlib
import re

from .runner import Failed, Skipped, tail

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What the tests hold to, as written there.
BOUNDS = ("logits 1e-3, losses 1e-4, gradients 1e-3, curves of training in fp32 1e-3 at every step; "
          "in bf16 losses 1e-2, norms of gradients 5e-2")
NUMBERS = ["gpu::logits_losses_and_gradients", "gpu::a_run_follows", "gpu::a_run_resumes"]
SMALL = ["gpu::logits_losses_and_gradients"]
ON_PROCESSOR = ["golden::", "runs::a_run_reproduces_the_curve_of_pytorch", "runs::a_run_in_bfloat16"]


def golden(run, args):
    """Logits, losses, gradients and curves of training against PyTorch's numbers, and resuming to the same bytes."""
    if args.device == "cpu":
        return {"bounds": BOUNDS, **tests(run, args, ON_PROCESSOR)}
    return {"bounds": BOUNDS, **tests(run, args, SMALL if args.small else NUMBERS)}


def operations(run, args):
    """All other tests of the device: operations against the plain tensors of their references."""
    if args.device == "cpu" or args.small:
        raise Skipped("only on a GPU, and not with --small")
    skipped = [word for name in NUMBERS for word in ("--skip", name)]
    return tests(run, args, ["gpu::", *skipped])


def tests(run, args, filters):
    if not args.tests.is_file():
        raise Skipped(f"there is no test binary at {args.tests}")
    env = os.environ | {"KDX_TEST_DEVICE": args.device, "KDX_TEST_ROOT": str(ROOT), "KDX_TEST_BINARY": str(args.kdx)}
    command = [args.tests, "--test-threads", "1", *filters]
    try:
        _, text, _ = run.command(command, env=env, cwd=run.work)
    except Failed as failure:
        text = failure.details.get("output", "")
        raise Failed(str(failure), **failure.details, **outcome(text)) from None
    found = outcome(text)
    if not found["passed"]:
        raise Failed("no test ran", command=" ".join(map(str, command)), exit_code=0, output_tail=tail(text))
    return found


def outcome(text):
    """Names of tests by what came of them; one that was begun and has no outcome was broken off."""
    found = {"passed": [], "failed_tests": []}
    for name, result in re.findall(r"^test (\S+) \.\.\. *(.*)$", text, re.MULTILINE):
        found["passed" if result.endswith("ok") else "failed_tests"].append(name)
    # What a test prints may stand between its name and its outcome.
    if "test result: ok" in text:
        found["passed"] += found.pop("failed_tests")
        found["failed_tests"] = []
    return found
