"""The output folder: one run at a time has it, what may be in it, and what is deleted."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmerbert.reading.bad_rows import RejectedRow
from kmerbert.training import folder as folder_module
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.folder import LOCK_FILE, REJECTED_FILE, FolderLock, RunFolder, claim_folder
from kmerbert.training.run import start_run
from tests.support.messages import check_message, fails


def start(folder: Path, **settings: Any) -> RunFolder:
    """Takes a folder for a run, as a script does, and gives it back."""
    with start_run(KmerTrainingArguments(output_dir=str(folder), **settings)) as run:
        return run


def taken(folder: Path, **settings: Any) -> RunFolder:
    """Takes a folder for a `with` block."""
    return start_run(KmerTrainingArguments(output_dir=str(folder), **settings))


def fill(folder: Path, *names: str) -> None:
    """Writes files that have some content."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


# --- what may be in the folder


def test_new_and_empty_folders_are_used(tmp_path: Path) -> None:
    assert start(tmp_path / "a" / "b").checkpoint is None
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / ".nfs0001").touch()
    (tmp_path / "a" / "b" / ".hidden").touch()
    assert start(tmp_path / "a" / "b").checkpoint is None
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [".hidden"]


def test_a_list_of_rows_is_of_a_run_that_failed_early(tmp_path: Path) -> None:
    with RunFolder(tmp_path, lock=FolderLock(tmp_path)) as run:
        run.list_rows("leaking_rows.tsv", "first")
    again = start(tmp_path)  # no error
    assert again.to_delete == ("leaking_rows.tsv",)
    again.lock = FolderLock(tmp_path)
    with again:
        path = again.list_rows("leaking_rows.tsv", "second")
    assert Path(path).read_text() == "second"
    assert again.to_delete == ()  # it is of this run now
    fill(tmp_path, "config.json")
    with fails("config.json", "`overwrite_output_dir`"):
        start(tmp_path)


def test_a_folder_with_something_in_it(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "d.txt", "c.txt"):
        (tmp_path / name).touch()
    with fails(f"`output_dir` {tmp_path}", "a.txt, b.txt, c.txt, ...", "`overwrite_output_dir`"):
        start(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("folder", ["file", "file/folder"])
def test_a_folder_that_cannot_be_written(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with fails(f"`output_dir` {tmp_path / folder}", "written", tmp_path / "file"):
        start(tmp_path / folder)
    assert (tmp_path / "file").read_text() == "mine"


def left_in(folder: Path) -> list[str]:
    """Files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


OURS = ["README.md", "checkpoint-7/model.safetensors", "checkpoint-7/optimizer.pt", "config.json", "train_results.json"]
OURS += ["test_predictions.tsv"]
THEIRS = [
    *(
        "checkpoint-7/notes.txt",
        "checkpoint-7-best/model.safetensors",
        "checkpoint-notes/lab.txt",
        "checkpoint-9/lab.txt",
    ),
    *(
        "checkpoints/config.json",
        "figures/README.md",
        "my_predictions.tsv",
        "paper_results.json",
        "runs/other/config.json",
    ),
]


@pytest.mark.parametrize("is_old", [True, False])
def test_overwriting_deletes_what_a_run_wrote_and_nothing_else(
    is_old: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of a version without a list of its files is known by exact names."""
    fill(tmp_path, *OURS, *THEIRS, *(["trainer_state.json"] if is_old else ["validation_predictions.tsv"]))
    outside = tmp_path.parent / f"{tmp_path.name}_outside"
    fill(outside, "model.safetensors", "checkpoint/model.safetensors")
    (tmp_path / "model.safetensors").symlink_to(outside / "model.safetensors")
    (tmp_path / "checkpoint-8").symlink_to(outside / "checkpoint")
    if not is_old:
        RunFolder(tmp_path).note(*(name.partition("/")[0] for name in OURS), "model.safetensors", "checkpoint-8")
    run = start(tmp_path, overwrite_output_dir=True)
    assert set(OURS) < set(left_in(tmp_path))  # nothing is deleted before the data are read
    (said,) = (line for line in capsys.readouterr().err.splitlines() if "deleted" in line)
    check_message(said, "--overwrite_output_dir", "README.md, checkpoint-7, config.json")
    assert "lab" not in said
    # Of the user: the run has not noted them, or its version wrote no such file.
    fill(tmp_path, "report.html")
    others = ["report.html"] if is_old else ["report.html", "validation_predictions.tsv"]
    before = left_in(tmp_path)
    with fails(f"`output_dir` {tmp_path}", "model.safetensors"):  # which the new run would write
        run.clear({"train"})
    (tmp_path / "model.safetensors").unlink()
    for name in others:
        with fails(f"`output_dir` {tmp_path}", name):
            run.clear({"train", "validation"})
        if name == "report.html":
            assert left_in(tmp_path) == [name for name in before if name != "model.safetensors"]
            (tmp_path / name).unlink()
    others.remove("report.html")
    run.clear({"train"})
    assert set(left_in(tmp_path)) == {*THEIRS, *others}
    assert left_in(outside) == ["checkpoint/model.safetensors", "model.safetensors"]
    assert (tmp_path / "checkpoint-8").is_symlink()


@pytest.mark.parametrize("name", ["verdict.json", "test_ridge_predictions.tsv", "report.html"])
def test_a_file_of_the_user_that_has_the_name_of_a_result_stays(name: str, tmp_path: Path) -> None:
    RunFolder(tmp_path).note("config.json")
    fill(tmp_path, "config.json", name)
    run = start(tmp_path, overwrite_output_dir=True)
    with fails(f"`output_dir` {tmp_path}", name):
        run.clear({"train", "test"})
    assert name in left_in(tmp_path)


def test_overwriting_spares_a_folder_without_a_run(tmp_path: Path) -> None:
    """Such as a checkout of this repository, which has a README.md, a tokenization_kmer.py and runs/."""
    fill(tmp_path, "README.md", "tokenization_kmer.py", "runs/mlm/model.safetensors")
    with fails("`overwrite_output_dir`", tmp_path, "nothing was deleted"):
        start(tmp_path, overwrite_output_dir=True)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_a_folder_is_claimed_for_the_run_that_continues_in_it(tmp_path: Path) -> None:
    fill(tmp_path, "out/config.json", "out/checkpoint-3/config.json")
    for overwrite in (False, True):
        assert claim_folder(tmp_path / "out", overwrite, checkpoint=str(tmp_path / "out" / "checkpoint-3")) == ()
    with fails(tmp_path / "out", "config.json"):
        claim_folder(tmp_path / "out", overwrite=False, checkpoint=str(tmp_path / "checkpoint-3"))


def test_old_checkpoints_are_deleted_by_their_exact_names(tmp_path: Path) -> None:
    theirs = ["checkpoint-1-best/model.safetensors", "checkpoint-notes/model.safetensors", "checkpoint-2/notes.txt"]
    fill(tmp_path, *(f"checkpoint-{step}/model.safetensors" for step in (1, 2, 3, 10)), *theirs)
    run = RunFolder(tmp_path)
    run.remove_old_checkpoints(None, None)
    assert len(left_in(tmp_path)) == 7
    run.remove_old_checkpoints(2, str(tmp_path / "checkpoint-1"))
    assert left_in(tmp_path) == sorted(["checkpoint-1/model.safetensors", "checkpoint-10/model.safetensors", *theirs])


# --- one run at a time


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[int]:
    """The id of another process, which has the folder."""
    reading, writing = os.pipe()
    if not (process := os.fork()):
        lock = FolderLock(tmp_path)
        os.write(writing, b"taken" if lock else b"")
        time.sleep(60)
        os._exit(0)
    assert os.read(reading, 5) == b"taken"
    yield process
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    os.close(reading)
    os.close(writing)


def test_a_folder_that_a_run_has_is_refused_until_it_is_killed(
    holder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "OWNER_PATIENCE_SECONDS", 0.0)
    for settings in ({}, {"overwrite_output_dir": True}, {"resume_from_checkpoint": "true"}):
        with fails(f"`output_dir` {tmp_path}", f"process {holder}"):
            start(tmp_path, **settings)
    monkeypatch.undo()
    os.kill(holder, signal.SIGKILL)  # nobody asks how it ended
    assert (tmp_path / LOCK_FILE).exists()
    start(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_a_lock_that_was_left(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is gone, or its number is another's by now; of another machine nothing can be known."""
    lock = tmp_path / LOCK_FILE
    for process in (2**22 + 1, os.getppid()):
        monkeypatch.setattr(folder_module.socket, "gethostname", lambda: "here")
        lock.write_text(json.dumps({"host": host, "process": process, "process_start": 1, "since": "yesterday"}))
        if host == "here":
            FolderLock(tmp_path).release()
            assert not lock.exists()
        else:
            with fails(tmp_path, f"process {process} on elsewhere", f"delete {lock}"):
                start(tmp_path)
            assert lock.exists()


def test_without_locks_of_the_system_the_process_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "fcntl", None)
    monkeypatch.setattr(folder_module, "OWNER_PATIENCE_SECONDS", 0.0)
    parent = {"process": os.getppid(), "process_start": folder_module.process_start(os.getppid())}
    lock = tmp_path / LOCK_FILE
    lock.write_text(json.dumps({"host": folder_module.socket.gethostname(), **parent, "since": "today"}))
    with fails(tmp_path, f"process {os.getppid()}"):
        start(tmp_path)
    lock.write_text(lock.read_text().replace('"process_start": ', '"process_start": 1'))
    start(tmp_path)


def test_a_failure_gives_the_folder_back_and_says_what_is_safe(tmp_path: Path) -> None:
    arguments = KmerTrainingArguments(output_dir=str(tmp_path))
    with fails("line 3: bad"), start_run(arguments):
        raise ValueError("line 3: bad")
    with fails("no space", "nothing was saved"), start_run(arguments) as run:
        run.is_training = True
        raise OSError("no space")
    with fails("out of memory", "`per_device_train_batch_size`"), start_run(arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    with fails("no table", f"the model is saved in {tmp_path}"), start_run(arguments) as run:
        run.is_training = run.is_saved = True
        raise ValueError("no table")
    with fails("nothing was saved", error=KeyboardInterrupt), start_run(arguments):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_libraries_that_fail_are_one_line(tmp_path: Path) -> None:
    """A killed process that reads batches, shared memory, and a program to log to, at any time of a run."""
    arguments = KmerTrainingArguments(output_dir=str(tmp_path))
    for message in (
        "DataLoader worker (pid(s) 7) exited unexpectedly",
        "DataLoader worker (pid 7) is killed by signal: Bus error. ",
        "unable to write to file </torch_7_1>: No space left on device (28)",
    ):
        with fails(message.strip(), "`dataloader_num_workers`", "nothing was saved"), start_run(arguments):
            raise RuntimeError(message)
    with fails("out of memory", "Errno 12"), start_run(arguments):
        raise OSError(12, "Cannot allocate memory")

    class PigeonError(Exception):
        __module__ = "pigeon.errors"

    with pytest.raises(PigeonError), start_run(arguments):
        raise PigeonError
    with fails("`report_to` pigeon", "no grain", f"saved in {tmp_path}"), start_run(arguments) as run:
        run.trackers, run.is_saved = ("pigeon",), True
        raise PigeonError("no grain")


def test_a_start_that_fails_gives_the_folder_back(tmp_path: Path) -> None:
    with fails("2**32"):
        start(tmp_path / "out", seed=-1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("is_resumed", [True, False])
def test_a_card_that_was_edited_stays(is_resumed: bool, tmp_path: Path) -> None:
    fill(tmp_path, "README.md", "trainer_state.json", "checkpoint-1/trainer_state.json")
    with start_run(KmerTrainingArguments(output_dir=str(tmp_path), overwrite_output_dir=True)) as run:
        run.note("README.md", "trainer_state.json", "checkpoint-1")
        run.is_saved = True
    checkpoint = str(tmp_path / "checkpoint-1") if is_resumed else None
    for text in ("README.md", "mine", "mine again"):
        (tmp_path / "README.md").write_text(text)
        RunFolder(tmp_path, checkpoint=checkpoint, to_delete=("README.md", "trainer_state.json")).clear({"train"})
    kept = {path.name: path.read_text() for path in tmp_path.glob("README*")}
    assert kept == {"README.edited.md": "mine", "README.edited2.md": "mine again"}


def test_a_list_of_bad_rows_is_the_runs_own(tmp_path: Path) -> None:
    """It is there before training begins, is no reason to refuse the next run, and goes when that has no bad rows."""
    rows = [("a.tsv", RejectedRow(3, "x", "high", "no number"))]
    with pytest.raises(ValueError, match="bad"), taken(tmp_path / "out") as folder:
        assert folder.list_rejected(rows) == str(tmp_path / "out" / REJECTED_FILE)
        raise ValueError("bad rows")
    assert left_in(tmp_path / "out") == ["rejected_rows.tsv", "run_files.json"]
    with taken(tmp_path / "out") as folder:
        folder.list_rejected(rows * 2)
        folder.clear({"train"})
        assert (tmp_path / "out" / REJECTED_FILE).read_text().count("high") == 2
    with taken(tmp_path / "out") as folder:
        folder.clear({"train"})
    assert REJECTED_FILE not in left_in(tmp_path / "out")


def test_a_list_of_bad_rows_replaces_nobodys_file(tmp_path: Path) -> None:
    fill(tmp_path / "out", "trainer_state.json", REJECTED_FILE)
    with taken(tmp_path / "out", overwrite_output_dir=True) as folder, fails("rejected_rows.tsv", "no run wrote"):
        folder.list_rejected([])
    assert (tmp_path / "out" / REJECTED_FILE).read_text() != ""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / REJECTED_FILE).write_text("mine")
    with fails("not empty"):
        start(tmp_path / "other")
