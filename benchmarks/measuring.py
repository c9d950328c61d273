"""What the benchmarks measure with: random DNA, time, memory, bytes on disk, processes of their own, matrix products.

Nothing here imports torch before it is needed, so that a stage that measures memory holds only what it uses itself.
"""

import json
import platform
import resource
import runpy
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")


# Where it was measured


def processor_name() -> str:
    """Returns the model name of the CPU if Linux tells it, otherwise what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def device_name(device: "torch.device") -> str:
    """Returns the name of a GPU, or that of the processor and torch's number of threads."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {torch.get_num_threads()} thread(s)"


def versions(*libraries: str) -> str:
    """Returns the versions of Python and of libraries, for the head of a table."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in libraries)])


# Random rows


def random_letters(n: int, n_bases: int, generator: np.random.Generator) -> np.ndarray:
    """Draws DNA as ASCII, uint8 (n, n_bases)."""
    return np.frombuffer(b"ACGT", np.uint8)[generator.integers(0, 4, (n, n_bases), np.uint8)]


def to_strings(letters: np.ndarray, lengths: Sequence[int] | None = None) -> list[str]:
    """Turns letters, uint8 (n, n_bases), into n strings, cut to lengths if these are given.

    >>> to_strings(np.frombuffer(b"ACGTTT", np.uint8).reshape(2, 3), [3, 1])
    ['ACG', 'T']
    """
    ends = [letters.shape[1]] * len(letters) if lengths is None else lengths
    return [row.tobytes()[:end].decode() for row, end in zip(letters, ends, strict=True)]


def write_table(path: Path, n_rows: int, n_bases: int, seed: int = 0) -> None:
    """Writes a table of random DNA, `sequence`, with random values, `expression`; memory does not grow with it."""
    generator = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        file.write("sequence\texpression\n")
        for start in range(0, n_rows, 10_000):
            sequences = to_strings(random_letters(min(10_000, n_rows - start), n_bases, generator))
            values = generator.normal(11, 2.5, len(sequences))
            file.writelines(f"{sequence}\t{value:.4f}\n" for sequence, value in zip(sequences, values, strict=True))


# Time, memory, disk


def best_seconds(
    work: Callable[[], T], n_runs: int = 3, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, T]:
    """Calls something several times; returns the seconds of the fastest call and the result of the last."""
    seconds = []
    for _ in range(n_runs):
        start = clock()
        result = work()
        seconds.append(max(clock() - start, 1e-9))
    return min(seconds), result


def costs(work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Calls something; returns its result, and its wall `seconds`, its `cpu` seconds and the `memory` of the process.

    The memory is the peak so far, in bytes, libraries included. CPU seconds are those of all threads; they are what to
    compare when other programs run.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    seconds = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return result, seconds | {"memory": peak_memory()}


def peak_memory() -> int:
    """Returns the bytes that this process held at its peak."""
    if Path("/proc/self/status").is_file():
        return _process_memory("VmHWM")  # what getrusage tells on Linux includes the process that started this one
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_growth(work: Callable[[], T]) -> tuple[T, int]:
    """Calls something; returns its result, and by how many bytes this process grew at its peak meanwhile. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _process_memory("VmRSS")
    result = work()
    return result, _process_memory("VmHWM") - before


def _process_memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def bytes_on_disk(path: Path) -> int:
    """Returns the size of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


# Command lines and processes


def words(template: str, **values: object) -> list[str]:
    """Splits a command line at its blanks and then fills in values, which may contain blanks.

    >>> words("--seed {seed} --train_file {folder}/rows.tsv", seed=1, folder="my runs")
    ['--seed', '1', '--train_file', 'my runs/rows.tsv']
    """
    return [word.format(**values) for word in template.split()]


def as_flags(settings: Mapping[str, object]) -> list[str]:
    """Writes settings as flags of a command line.

    >>> as_flags({"seed": 1, "use_cpu": True})
    ['--seed=1', '--use_cpu=True']
    """
    return [f"--{name}={value}" for name, value in settings.items()]


def run_apart(module: str, *argv: object) -> dict[str, Any]:
    """Runs a program of this repository in a process of its own, and returns the JSON that it prints last.

    `run_apart("benchmarks.measuring", "run_predict.py", ...)` runs a script and returns its peak `memory` in bytes.

    Raises:
        SystemExit: The program failed; with the last line of what it says.
    """
    command = [sys.executable, "-m", module, *map(str, argv)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command[1:])} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


# Matrix products


def product_rate(
    device: "torch.device", dtype: "torch.dtype", size: int | None = None, by_onednn: bool = False
) -> float:
    """Returns the FLOP/s of products of large square matrices, the best of eight.

    Args:
        device, dtype: Of the matrices.
        size: Their rows and columns; None for 2048 on a CPU and 8192 on a GPU.
        by_onednn: Whether float32 products on a CPU are left to oneDNN, instead of torch's default.
    """
    import torch

    from kmerbert.models.kernels import onednn_products

    size = size or (2048 if device.type == "cpu" else 8192)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def multiply() -> None:
        (left @ right)[0, 0].item()  # waits for a GPU

    if by_onednn:
        with onednn_products():
            seconds, _ = best_seconds(multiply, 8)
    else:
        seconds, _ = best_seconds(multiply, 8)
    return 2 * size**3 / seconds


def encoder_products(n_tokens: Any, n_layers: int, width: int, intermediate_size: int, has_gate: bool = False) -> Any:
    """Counts the floating-point operations of an encoder's matrix products for a sequence, forward.

    Args:
        n_tokens: Of the sequence, special ones included; a number, or an array for several sequences.
        n_layers, width, intermediate_size: Of the encoder.
        has_gate: Whether its feed-forward layers have a gate, as ModernBERT's have.
    """
    per_token = 8 * width**2 + (6 if has_gate else 4) * width * intermediate_size
    return n_tokens * n_layers * (per_token + 4 * n_tokens * width)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a script in this process and prints the peak memory; see `run_apart`."""
    script, *flags = sys.argv[1:] if argv is None else argv
    sys.argv = [script, *flags]
    runpy.run_path(script, run_name="__main__")
    print(json.dumps({"memory": peak_memory()}))


if __name__ == "__main__":
    main()
