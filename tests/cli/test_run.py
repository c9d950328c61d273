"""What surrounds a script's main: messages of one line with flags, exit statuses, one message for a whole launch."""

import doctest
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmerbert.cli import run as run_module
from kmerbert.cli.run import run, with_dashes
from tests.support.messages import check_message


@pytest.mark.parametrize(
    ("message", "printed"),
    [
        ("`k` 9: allowed is 1 to 8", "--k 9: allowed is 1 to 8"),
        ("a.tsv: give `max_seq_length` 8, or `k`", "a.tsv: give --max_seq_length 8, or --k"),
        ("`fp16_backend`", "--fp16_backend"),
        # Commands, lines of a recipe, columns and files are no argument names.
        ("set HF_TOKEN, or run `hf auth login`", "set HF_TOKEN, or run `hf auth login`"),
        ("lines `flag: value`", "lines `flag: value`"),
        ("`Expression`, `a.tsv`, `2nd`, `--k`, ``", "`Expression`, `a.tsv`, `2nd`, `--k`, ``"),
        ("no backticks in --k 3", "no backticks in --k 3"),
        ("", ""),
    ],
)
def test_argument_names_become_flags(message: str, printed: str) -> None:
    assert with_dashes(message) == printed


def fail(error: BaseException) -> None:
    """Raises what it is given."""
    raise error


@pytest.mark.parametrize(
    "error", [ValueError("a\n  b\tc"), OSError("a b c"), FileNotFoundError("a b c"), ImportError("a b c")]
)
def test_a_mistake_is_one_line_and_status_2(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(lambda: fail(error))
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: a b c\n"


def test_arguments_of_a_library_are_printed_as_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(lambda: fail(ValueError("a.tsv, line 3:\n`label_column` 'x'")))
    assert capsys.readouterr().err == "error: a.tsv, line 3: --label_column 'x'\n"


def test_of_processes_without_a_common_folder_the_first_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit) as stopped:
        run(lambda: fail(ValueError("a")))
    assert stopped.value.code == 2
    assert capsys.readouterr().err == ""


def test_a_launch_prints_a_line_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever process comes first; what another process suffers from it is not printed."""
    for rank, error, printed in (
        (1, ValueError("a"), "error: a\n"),
        (0, ValueError("a"), ""),
        (2, OSError("b"), "error: b\n"),
        (3, RuntimeError("connection closed by peer"), ""),
    ):
        (tmp_path / str(rank)).mkdir()
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / str(rank) / "error.json"))
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        with pytest.raises(SystemExit) as stopped:
            run(lambda error=error: fail(error))
        assert stopped.value.code == 2
        assert capsys.readouterr().err == printed


def test_a_bug_in_a_launch_has_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0").mkdir()
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "0" / "error.json"))
    with pytest.raises(RuntimeError, match="a bug"):
        run(lambda: fail(RuntimeError("a bug")))


def test_a_launch_whose_folder_is_gone_prints_rather_twice_than_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "gone" / "1" / "error.json"))
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit):
        run(lambda: fail(ValueError("a")))
    assert capsys.readouterr().err == "error: a\n"


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMERBERT_DEBUG", "1")
    with pytest.raises(ValueError, match="^a$"):
        run(lambda: fail(ValueError("a")))


def test_a_bug_has_its_traceback_and_an_interruption_advice() -> None:
    with pytest.raises(TypeError):
        run(lambda: fail(TypeError("a bug")))
    with pytest.raises(SystemExit, match="--resume_from_checkpoint true"):
        run(lambda: fail(KeyboardInterrupt()))
    with pytest.raises(SystemExit, match="interrupted; nothing was written"):
        run(lambda: fail(KeyboardInterrupt()), "nothing was written")


@pytest.mark.parametrize(
    "error",
    [
        *(MemoryError("x"), type("OutOfMemoryError", (RuntimeError,), {})("x"), OSError(12, "Cannot allocate memory")),
        *(
            RuntimeError("x: can't allocate memory"),
            RuntimeError("std::bad_alloc"),
            RuntimeError("MPS backend out of memory"),
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(
            "Caught MemoryError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  y\nx"
        ),
    ],
)
def test_too_little_memory_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(lambda: fail(error))
    line = capsys.readouterr().err.strip()
    check_message(line, "error: out of memory")
    assert "Traceback" not in line


def test_a_killed_process_of_a_launch_is_one_line_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(RuntimeError):
        run(lambda: fail(lost))
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in (1, 2):
        (tmp_path / str(rank)).mkdir()
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / str(rank) / "error.json"))
        with pytest.raises(SystemExit):
            run(lambda: fail(lost))
        printed = capsys.readouterr().err
        if rank == 1:
            check_message(printed.strip(), "another process", "closed by peer", "--resume_from_checkpoint true")
        else:
            assert printed == ""


def test_an_interruption_says_what_the_work_says() -> None:
    with pytest.raises(SystemExit, match="interrupted; continue with --resume_from_checkpoint true"):
        run(lambda: fail(KeyboardInterrupt("continue with `resume_from_checkpoint` true")), "nothing was written")


@pytest.mark.parametrize(("error", "n_lines"), [("KeyboardInterrupt", 1), ("TypeError", 4)])
def test_an_interruption_during_the_imports(error: str, n_lines: int, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(f"import kmerbert.cli.interruption\nraise {error}\n")
    command = [sys.executable, tmp_path / "program.py"]
    environment = os.environ | {"PYTHONPATH": str(Path(run_module.__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert len(done.stderr.splitlines()) == n_lines
    assert done.returncode


PROGRAM = """
import sys
from kmerbert.cli.run import run
def main():
    {body}
run(main)
"""


@pytest.mark.parametrize(
    ("body", "output", "status", "message"),
    [
        ("print('x' * 1_000_000)", "pipe", 1, ""),
        ("print('x')", "pipe", 1, ""),  # only seen at the end
        ("print('x'); sys.exit(0)", "pipe", 1, ""),  # as --help does
        ("print('x'); sys.exit(0)", "/dev/full", 2, "standard output"),
        ("raise BrokenPipeError(32, 'the Hub')", "/dev/null", 2, "the Hub"),  # a connection, which is no `head`
    ],
)
def test_output_that_nobody_reads(body: str, output: str, status: int, message: str) -> None:
    code = [sys.executable, "-c", PROGRAM.format(body=body)]
    if output == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(output, os.O_WRONLY)
    root = str(Path(run_module.__file__).parents[2])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        code, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=root, env=environment, timeout=60, check=False
    )
    os.close(writer)
    assert done.returncode == status
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == bool(message)


def test_debugging_is_off_if_it_is_zero(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KMERBERT_DEBUG", "0")
    with pytest.raises(SystemExit):
        run(lambda: fail(ValueError("a")))
    assert capsys.readouterr().err == "error: a\n"


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(run_module)
    assert result.attempted
    assert not result.failed
