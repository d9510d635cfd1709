"""All that the measurement needs, in one archive."""
import lzma
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

FILES = ["benches/gpu.py", "benches/gpu_measurement", "benches/peer/pytorch_kd.py", "tests/golden"]
# Both binaries hold most of the same code: far enough back to find it again.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 256 << 20}]
FOLDER = "kdx-gpu"


def pack(args, root):
    if not args.tests.is_file():
        sys.exit("no test binary: run `cargo test --release --features cuda --test it --no-run`, or name it with --tests")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        with lzma.open(args.output, "wb", format=lzma.FORMAT_XZ, filters=FILTERS) as out:
            with tarfile.open(fileobj=out, mode="w|") as archive:
                for name, path in (("kdx", args.kdx), ("it", args.tests)):
                    copy = folder / name
                    shutil.copy(path, copy)
                    strip(copy)
                    print(f"{name}: {mib(path)}, stripped {mib(copy)}")
                    archive.add(copy, f"{FOLDER}/{name}")
                for name in FILES:
                    archive.add(root / name, f"{FOLDER}/{name}", filter=without_caches)
    print(f"{args.output}: {mib(args.output)}")
    print(f"there: tar xf {args.output.name} && python3 {FOLDER}/benches/gpu.py measure --device cuda:0")


def without_caches(entry):
    return None if "__pycache__" in entry.name else entry


def strip(path):
    try:
        subprocess.run(["strip", "--strip-all", path], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"warning: {path.name} is not stripped: {error}", file=sys.stderr)


def mib(path):
    return f"{path.stat().st_size / 2**20:.1f} MiB"
