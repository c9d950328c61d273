"""The output folder: what may be in it, what is deleted, and which checkpoint a run continues from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.folder import claim_folder, find_checkpoint
from kmerbert.training.run import start_run
from tests.support.messages import check_message, fails

PARTS = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")


def start(folder: Path, **settings: Any) -> str | None:
    """Starts a run; returns the checkpoint that it continues from."""
    return start_run(KmerTrainingArguments(output_dir=str(folder), **settings))


def fill(folder: Path, *names: str) -> None:
    """Writes files that have some content."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def write_checkpoint(folder: Path) -> Path:
    """Writes the least that a checkpoint contains."""
    folder.mkdir(parents=True)
    save_file({"weight": torch.zeros(9)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.save({"state": torch.zeros(9)}, folder / name)
    (folder / "trainer_state.json").write_text('{"global_step": 1}')
    return folder


# --- what may be in the folder


def test_new_and_empty_folders_are_used(tmp_path: Path) -> None:
    assert start(tmp_path / "a" / "b") is None
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / ".nfs0001").touch()
    (tmp_path / "a" / "b" / ".hidden").touch()
    assert start(tmp_path / "a" / "b") is None
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [".hidden"]


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


def test_overwriting_deletes_the_files_of_a_run_and_no_others(tmp_path: Path) -> None:
    ours = [
        *("checkpoint-7/model.safetensors", "runs/events", "config.json", "README.md", "train_results.json"),
        *(
            "trainer_state.json",
            "training_args.bin",
            "test_predictions.tsv",
            "vocab.txt",
            "model-00001-of-2.safetensors",
        ),
    ]
    theirs = ["notes.txt", "my_model.safetensors", "figures/README.md", "data.tsv", "checkpoints/config.json"]
    fill(tmp_path, *ours, *theirs)
    start(tmp_path, overwrite_output_dir=True)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(theirs)
    assert not (tmp_path / "checkpoint-7").exists()


def test_overwriting_spares_a_folder_without_a_run(tmp_path: Path) -> None:
    """Such as a checkout of this repository, which has a README.md, a tokenization_kmer.py and runs/."""
    fill(tmp_path, "README.md", "tokenization_kmer.py", "runs/mlm/model.safetensors")
    with fails("`overwrite_output_dir`", tmp_path, "nothing was deleted"):
        start(tmp_path, overwrite_output_dir=True)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_a_folder_is_claimed_for_the_run_that_continues_in_it(tmp_path: Path) -> None:
    fill(tmp_path, "out/config.json", "out/checkpoint-3/config.json")
    for overwrite in (False, True):
        claim_folder(tmp_path / "out", overwrite, checkpoint=str(tmp_path / "out" / "checkpoint-3"))
        assert (tmp_path / "out" / "config.json").exists()
    with fails(tmp_path / "out", "config.json"):
        claim_folder(tmp_path / "out", overwrite=False, checkpoint=str(tmp_path / "checkpoint-3"))


# --- which checkpoint


@pytest.mark.parametrize("chosen", [None, "false", "False", False])
def test_no_checkpoint_is_looked_for(chosen: Any, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "checkpoint-1")
    assert find_checkpoint(chosen, tmp_path) is None


def test_the_checkpoint_to_continue_from(tmp_path: Path) -> None:
    fill(tmp_path, "out/config.json")
    older, newest = (str(write_checkpoint(tmp_path / "out" / f"checkpoint-{step}")) for step in (9, 10))
    for chosen, expected in (("true", newest), ("True", newest), (older, older)):
        assert start(tmp_path / "out", resume_from_checkpoint=chosen) == expected
    for overwrite in (False, True):  # to continue is stronger than to start again
        assert start(tmp_path / "out", resume_from_checkpoint="true", overwrite_output_dir=overwrite) == newest
    assert (tmp_path / "out" / "config.json").exists()
    assert start(tmp_path / "elsewhere", resume_from_checkpoint=older) == older
    with fails(tmp_path / "out", "not empty"):
        start(tmp_path / "out", resume_from_checkpoint="false")


def test_checkpoints_that_are_not_there(tmp_path: Path) -> None:
    fill(tmp_path, "out/notes.txt", "out/checkpoint-1/config.json")
    checkpoint = tmp_path / "out" / "checkpoint-1"
    with fails(f"`resume_from_checkpoint` {checkpoint}", "trainer_state.json"):
        start(tmp_path / "out", resume_from_checkpoint=str(checkpoint))
    for folder in ("empty", "missing"):
        with fails("`resume_from_checkpoint` true", tmp_path / folder):
            start(tmp_path / folder, resume_from_checkpoint="true")
        assert not (tmp_path / folder).exists()


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("chosen", ["true", "path"])
def test_damaged_checkpoints(name: str, chosen: str, tmp_path: Path) -> None:
    for step in (2, 10, 30):
        write_checkpoint(tmp_path / f"checkpoint-{step}")
    last = tmp_path / "checkpoint-30"
    settings = {"resume_from_checkpoint": "true" if chosen == "true" else str(last)}
    whole = (last / name).read_bytes()
    for share in (0, 0.5, 0.99):
        (last / name).write_bytes(whole[: int(share * len(whole))])
        with fails(last, name, f"`resume_from_checkpoint` {tmp_path / 'checkpoint-10'}"):
            start(tmp_path, **settings)
    (tmp_path / "checkpoint-10" / name).unlink()
    with fails(last, name, f"`resume_from_checkpoint` {tmp_path / 'checkpoint-2'}"):
        start(tmp_path, **settings)
    (tmp_path / "checkpoint-2" / name).write_bytes(b"")
    with fails(last, name, "`overwrite_output_dir`"):
        start(tmp_path, **settings)


@pytest.mark.parametrize("name", PARTS)
def test_checkpoints_that_lack_a_file(name: str, tmp_path: Path) -> None:
    (write_checkpoint(tmp_path / "checkpoint-30") / name).unlink()
    part = "weights" if name == "model.safetensors" else name  # of any format
    with fails(tmp_path / "checkpoint-30", f"no {part}", "`overwrite_output_dir`"):
        start(tmp_path, resume_from_checkpoint="true")


def test_a_run_of_unknown_settings_continues_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint-1")
    assert start(tmp_path, resume_from_checkpoint="true") == str(checkpoint)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "checkpoint-1" in line)
    check_message(line, "settings", "not compared")
