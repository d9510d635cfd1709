"""Steps within a time, and what came of them on the disk after each."""
import datetime
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

from . import page

FORMAT_VERSION = 1
# Lines of a failed command's output that are kept.
LINES = 40
# Seconds at the end of the time in which nothing is begun, and that a command has to stop when it is asked to.
MARGIN, GRACE = 5.0, 3.0


class Failed(Exception):
    """A step that gave no figures, and what is known of why."""

    def __init__(self, reason, **details):
        super().__init__(reason)
        self.details = details


class Skipped(Exception):
    """A step that this machine cannot take."""


class Runner:
    """Takes steps until the time is over, and keeps the results."""

    def __init__(self, folder, minutes, header):
        self.deadline = time.monotonic() + 60 * minutes - MARGIN
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.json, self.page = folder / "results.json", folder / "results.md"
        # What an earlier measurement left would be taken for this one's; compiled kernels are the same.
        self.work, self.caches = folder.resolve() / "work", folder.resolve() / "caches"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        self.started = time.monotonic()
        self.results = {
            "format_version": FORMAT_VERSION,
            "command": shlex.join(["python3", *sys.argv]),
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "minutes": minutes, **header, "complete": False, "steps": [],
        }
        self.running = []
        self.write()

    def left(self):
        """Seconds until the time is over."""
        return self.deadline - time.monotonic()

    def step(self, name, limit, least, work, **about):
        """Takes a step of at most `limit` seconds, if at least `least` are left. `about` goes into its entry."""
        entry = {"name": name, **about, "status": "running"}
        self.results["steps"].append(entry)
        start = time.monotonic()
        self.limit = start + min(limit, self.left())
        if self.left() < least:
            entry |= {"status": "not measured", "reason": f"{max(self.left(), 0):.0f} s were left, it needs {least:.0f}"}
        else:
            self.write()
            print(f"[{start - self.started:5.0f} s] {name}", file=sys.stderr, flush=True)
            try:
                entry |= {"result": work(), "status": "done"}
            except Skipped as reason:
                entry |= {"status": "skipped", "reason": str(reason)}
            except Failed as failure:
                entry |= {"status": "failed", "reason": str(failure), **failure.details}
            except Exception as error:  # Whatever it is, the other steps go on.
                entry |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        entry["seconds"] = round(time.monotonic() - start, 1)
        if entry["status"] != "done":
            print(f"         {entry['status']}: {entry['reason']}", file=sys.stderr, flush=True)
        self.write()
        return entry.get("result")

    def step_left(self):
        """Seconds that the step may still take."""
        return max(self.limit - time.monotonic(), 0.1)

    def start(self, command, **options):
        """A process in the background, ended at the latest with the measurement."""
        command = [str(word) for word in command]
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True, errors="replace", **options)
        except OSError as error:
            raise Failed(str(error), command=shlex.join(command), exit_code=None, output_tail="") from None
        self.running.append(process)
        return process

    def command(self, command, limit=None, check=True, **options):
        """Runs a command to its end, within the step's limit; gives standard output, both outputs together and the seconds."""
        start = time.monotonic()
        process = self.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        limit = min(limit or self.step_left(), self.step_left())
        reason = None
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            stop(process)
            out, err = process.communicate()
            reason = f"no end after {limit:.0f} s"
        self.running.remove(process)
        both = err + out
        if reason is None and process.returncode != 0 and check:
            reason = f"exit code {process.returncode}"
        if reason:
            raise Failed(reason, command=shlex.join(map(str, command)), exit_code=process.returncode,
                         output_tail=tail(both), output=both)
        return out, both, time.monotonic() - start

    def has_failed(self):
        return any(step["status"] == "failed" for step in self.results["steps"])

    def finish(self):
        for process in self.running:
            stop(process)
        stopped = [step for step in self.results["steps"] if step["status"] == "running"]
        for step in stopped:
            step |= {"status": "failed", "reason": "the measurement was stopped"}
        self.results["complete"] = not stopped
        self.write()

    def write(self):
        self.results["elapsed_seconds"] = round(time.monotonic() - self.started, 1)
        for step in self.results["steps"]:
            step.pop("output", None)
        replace(self.json, json.dumps(self.results, indent=1, ensure_ascii=False) + "\n")
        replace(self.page, page.render(self.results))


def replace(path, text):
    """Writes a file so that whoever looks, and whenever this ends, finds the old one or the new one."""
    new = path.with_suffix(path.suffix + ".new")
    with open(new, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def tail(text):
    return "\n".join(text.splitlines()[-LINES:])


def stop(process):
    """Asks a process to end; after a while, ends it and what it started."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        kill_all(process)


def kill_all(process):
    """Ends a process and all that it started, at once."""
    pids = family(process.pid)
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def family(pid):
    """The process and its descendants. Linux only: it reads /proc."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name, in parentheses, may hold anything.
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found
