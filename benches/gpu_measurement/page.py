"""The results as a page of Markdown."""

PRECISION = "bf16"


def render(results):
    lines = [f"# kdx on {results['device']}", ""]
    if results["small"]:
        lines += ["**Tiny sizes, to try out the script: these are no figures.**", ""]
    if not results["complete"]:
        lines += ["Not complete: the measurement was still running when this was written, or was stopped.", ""]
    lines += [f"{results['date']}, {results['kdx']}, {results['elapsed_seconds']:.0f} s of {60 * results['minutes']:.0f}.", "",
              f"`{results['command']}`", ""]
    steps = results["steps"]
    lines += environment(result_of(steps, "environment"))
    lines += ["## Steps", "", "| step | | s | |", "| --- | --- | ---: | --- |"]
    lines += [row(step["name"], step["status"], f"{step.get('seconds', 0):.0f}", step.get("reason", "")) for step in steps]
    for part in (correctness, killed, speed, parts, packed, failures):
        lines += part(results)
    return "\n".join(lines) + "\n"


def row(*cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def heading(first, *others):
    """The head of a table: words, then figures."""
    return [row(first, *others), row("---", *["---:"] * len(others))]


def result_of(steps, name):
    return next((step["result"] for step in steps if step["name"] == name and "result" in step), None)


def environment(found):
    if not found:
        return []
    lines = ["## Machine", ""]
    for name in ("gpu", "system", "libraries", "devices"):
        if found.get(name):
            lines += [f"{name}:", "", "```text", found[name], "```", ""]
    return lines


def correctness(results):
    lines = []
    for step in results["steps"]:
        found = step.get("result") if step["status"] == "done" else step
        if step["name"] in ("reference numbers", "operations") and found and "passed" in found:
            bounds = f" ({found['bounds']})" if "bounds" in found else ""
            failed = f"; failed or broken off: {', '.join(found['failed_tests'])}" if found["failed_tests"] else ""
            lines += ["", f"{step['name']}{bounds}: {len(found['passed'])} tests passed{failed}."]
    return ["", "## Correctness", *lines] if lines else []


def killed(results):
    found = result_of(results["steps"], "a sweep killed and resumed")
    if not found:
        return []
    same = "every byte of metrics and models is the same"
    if found["different"]:
        same = f"{len(found['different'])} runs differ"
    return ["", "## A sweep killed and resumed", "",
            f"{found['runs']} runs, {found['at_once']} at once, killed with SIGKILL when {found['done_when_killed']} were done "
            f"and {found['checkpoints_when_killed']} had a checkpoint: {same}. Undisturbed {found['undisturbed_seconds']} s, "
            f"resumed {found['resumed_seconds']} s."]


def number(value, form="{:,.0f}"):
    return "–" if value is None else form.format(value)


def speed(results):
    lines = []
    for one in results.get("comparison", []):
        if not one["modes"]:
            continue
        wanted = ""
        if one["wanted_speed"]:
            wanted = f" (wanted: {one['wanted_speed']} × the speed, {one['wanted_memory']} × the memory)"
        lines += ["", f"**{one['shape']}**{wanted}", "",
                  *heading("", "rounds", "tokens/s", "to PyTorch's fastest", "memory, MiB", "to PyTorch's least",
                           "GPU's memory, MiB", "to PyTorch's least")]
        for mode, figures in one["modes"].items():
            ratio = lambda key: number(figures.get(key), "{:.2f} ×")
            speed = (f"{figures['tokens_per_second']:,.0f} "
                     f"({figures['slowest']:,.0f}–{figures['fastest']:,.0f})")
            lines.append(row(mode, figures["rounds"], speed, ratio("speed_ratio"), number(figures["memory_mib"]),
                             ratio("memory_ratio"), number(figures["sampled_memory_mib"]), ratio("sampled_memory_ratio")))
    if not lines:
        return []
    peer = results.get("peer") or {}
    note = []
    if peer.get("why_not"):
        note = ["", f"Without PyTorch: {peer['why_not']}."]
    elif peer:
        note = ["", f"PyTorch {peer['torch']}, transformers {peer['transformers']}, on {peer['device']}."]
    return ["", "## Training steps beside PyTorch", "",
            "Medians over the rounds. Memory: of kdx what it holds for tensors (on the processor all of the process), of "
            "PyTorch what its tensors took at most. The GPU's memory: the most that nvidia-smi saw, less what was in use "
            "before.", *note, *lines]


def parts(results):
    """Where the time of kdx's steps goes, of the first round in which they were measured."""
    lines, seen = [], set()
    ceilings = result_of(results["steps"], "ceilings")
    if ceilings:
        lines += ["", most(ceilings)]
    for step in results["steps"]:
        which = (step.get("mode", ""), step.get("shape"))
        if which[0].startswith("kdx") and step["status"] == "done" and which not in seen:
            seen.add(which)
            lines += parts_of(*which, step["result"]["printed"], ceilings)
    return ["", "## Where the time goes", *lines] if lines else []


def most(ceilings):
    def products(product):
        bf16 = "none in bf16" if product["bf16"] is None else f"{product['bf16'] / 1e3:,.2f} in bf16"
        return f"{product['fp32'] / 1e3:,.2f} TFLOP/s in fp32 and {bf16}"

    burn = f"Burn's own {products(ceilings['burn_product'])}; " if ceilings["burn_product"] else ""
    return (f"Ceilings, measured by kdx: products as it trains with them {products(ceilings['matrix_product'])}; {burn}"
            f"memory {ceilings['memory_bandwidth']:,.0f} GB/s.")


def parts_of(mode, shape, report, ceilings):
    of = lambda value, ceiling: "–" if value is None or not ceilings else f"{100 * value / ceiling(ceilings):.1f} %"
    product, bandwidth = lambda found: found["matrix_product"][PRECISION], lambda found: found["memory_bandwidth"]
    waits = "the parts of the same steps"
    if report["synchronized"]:
        waits = "the parts of steps that wait for the device at the end of each"
    whole = report["gflop_per_second"]
    lines = ["", f"**{mode}, {shape}**: {1e3 * report['mean_step_seconds']:.2f} ms a step, {whole / 1e3:,.2f} TFLOP/s "
             f"({of(whole, product)} of a product); the {report['warmup_steps']} steps before took "
             f"{report['warmup_seconds']:.1f} s; {waits}, {1e3 * report['part_step_seconds']:.2f} ms together:", "",
             *heading("part", "ms", "share", "TFLOP/s", "of a product", "GB/s", "of a copy")]
    for part in report["parts"]:
        flops, moved = part["gflop_per_second"], part["gbyte_per_second"]
        lines.append(row(part["part"].replace("_", " "), f"{1e3 * part['seconds']:.3f}", f"{100 * part['share']:.1f} %",
                         number(flops and flops / 1e3, "{:,.2f}"), of(flops, product), number(moved, "{:,.1f}"),
                         of(moved, bandwidth)))
    return lines


def packed(results):
    found = result_of(results["steps"], "runs packed onto the device")
    if not found:
        return []
    lines = ["", "## Runs at once", "",
             f"Small students, {found['steps_per_run']} steps each; the time of the whole sweep, workers and models included.",
             "", *heading("at once", "in", "runs", "s", "runs/s", "to one after another", "tokens/s of a run")]
    for one in found["figures"]:
        place = "one process" if one["one_process"] else "processes"
        if "failed" in one:
            lines.append(row(one["at_once"], place, f"failed: {one['failed']}", "–", "–", "–", "–"))
        else:
            lines.append(row(one["at_once"], place, one["runs"], f"{one['seconds']:.1f}", f"{one['runs_per_second']:.3f}",
                             number(one.get("ratio"), "{:.2f} ×"), number(one["tokens_per_second_of_a_run"])))
    return lines


def failures(results):
    lines = []
    for step in results["steps"]:
        if step["status"] == "failed":
            lines += ["", f"**{step['name']}**: {step['reason']}", ""]
            if step.get("command"):
                lines += [f"`{step['command']}` (exit code {step.get('exit_code')})", ""]
            if step.get("output_tail"):
                lines += ["```text", step["output_tail"], "```"]
    return ["", "## Failures", *lines] if lines else []
