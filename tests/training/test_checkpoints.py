"""Checkpoints: which one a run continues from, whether it is whole, and whether it is of the same run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kmerbert.training.checkpoints import (
    CHECKPOINT_FILE,
    begin,
    changeable_settings,
    check_rows,
    check_settings,
    complete,
    describe_changes,
    find_checkpoint,
    read_progress,
    remove_checkpoint,
    run_settings,
)
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.run import start_run
from tests.support.messages import check_message, fails

PARTS = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


def start(folder: Path, **settings: Any) -> str | None:
    """Starts a run; returns the checkpoint that it continues from."""
    with start_run(KmerTrainingArguments(output_dir=str(folder), **settings)) as run:
        return run.checkpoint


def fill(folder: Path, *names: str) -> None:
    """Writes files that have some content."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def write_checkpoint(folder: Path, is_complete: bool = False, best: int | None = None) -> Path:
    """Writes the least that a checkpoint contains; without checksums unless it is complete."""
    folder.mkdir(parents=True)
    step = int(folder.name.split("-")[1])
    save_file({"weight": torch.full((9,), float(step))}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.full((9,), float(step))}, folder / name)
    state = {"global_step": step, "best_global_step": best}
    state["best_model_checkpoint"] = best and str(Path("elsewhere") / f"checkpoint-{best}")
    (folder / "trainer_state.json").write_text(json.dumps(state))
    if is_complete:
        settings = run_settings(KmerTrainingArguments(output_dir="out"))
        complete(folder, settings, {"rows": {"train": {"name": "a.tsv", "checksum": "1" * 64}}})
    return folder


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
@pytest.mark.parametrize("is_complete", [True, False])
def test_damaged_checkpoints(name: str, is_complete: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is named is refused; unattended, the newest whole one is taken."""
    for step in (2, 10, 30):
        write_checkpoint(tmp_path / f"checkpoint-{step}", is_complete)
    last = tmp_path / "checkpoint-30"

    def check(newest_whole: int) -> None:
        whole = str(tmp_path / f"checkpoint-{newest_whole}")
        with fails(last, name, f"`resume_from_checkpoint` {whole}"):
            start(tmp_path, resume_from_checkpoint=str(last))
        capsys.readouterr()
        assert start(tmp_path, resume_from_checkpoint="true") == whole
        (said, *_) = capsys.readouterr().err.splitlines()
        check_message(said, last, name, f"continues from {whole}")

    content = (last / name).read_bytes()
    for share in (0, 0.5, 0.99):
        (last / name).write_bytes(content[: int(share * len(content))])
        check(10)
    (tmp_path / "checkpoint-10" / name).unlink()
    check(2)
    (tmp_path / "checkpoint-2" / name).write_bytes(b"")
    for chosen in ("true", str(last)):
        with fails(last, name, "`overwrite_output_dir`"):
            start(tmp_path, resume_from_checkpoint=chosen)


@pytest.mark.parametrize("name", PARTS)
def test_checksums_find_what_looks_whole(name: str, tmp_path: Path) -> None:
    older, newest = (write_checkpoint(tmp_path / f"checkpoint-{step}", is_complete=True) for step in (10, 11))
    own = (newest / name).read_bytes()
    flipped = bytearray(own)
    flipped[-30] ^= 16
    for content in (bytes(flipped), (older / name).read_bytes()):  # and a file of another checkpoint
        (newest / name).write_bytes(content)
        with fails(newest, name, f"`resume_from_checkpoint` {older}"):
            find_checkpoint(str(newest), tmp_path)
    (newest / name).write_bytes(own)
    assert find_checkpoint(str(newest), tmp_path) == str(newest)


def test_a_checkpoint_whose_saving_was_interrupted_is_not_the_newest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = write_checkpoint(tmp_path / "checkpoint-10", is_complete=True)
    newest = write_checkpoint(tmp_path / "checkpoint-20", is_complete=True)
    (newest / CHECKPOINT_FILE).unlink()
    assert find_checkpoint("true", tmp_path) == str(older)
    (said,) = caplog.messages
    check_message(said, newest, f"continues from {older}")


def test_the_first_checkpoint_of_a_killed_run(tmp_path: Path) -> None:
    """It has all its files but the checksums, and is not taken for one of a version without these."""
    begin(tmp_path / "checkpoint-5")
    write_checkpoint(tmp_path / "other" / "checkpoint-5")
    for path in (tmp_path / "other" / "checkpoint-5").iterdir():
        path.rename(tmp_path / "checkpoint-5" / path.name)
    for chosen in ("true", str(tmp_path / "checkpoint-5")):
        with fails("`resume_from_checkpoint`", tmp_path / "checkpoint-5", "not saved to its end"):
            find_checkpoint(chosen, tmp_path)
    # An older one, of a version without checksums, is as good as before.
    older = write_checkpoint(tmp_path / "checkpoint-4")
    assert find_checkpoint("true", tmp_path) == str(older)


def test_a_checkpoint_that_was_deleted_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At whichever file the process was killed, what is left is no checkpoint; nor does anything stay of an unfinished file."""
    n_files = len(PARTS) + 4  # settings, progress, checksums, and a partial file
    for n_deleted in range(1, n_files + 1):
        checkpoint = write_checkpoint(tmp_path / f"{n_deleted}" / "checkpoint-5", is_complete=True)
        (checkpoint / ".run_progress.json.0a-1-2.3b.partial").touch()
        left = n_deleted

        def unlink(path: Path, real: Any = Path.unlink, **given: Any) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            real(path, **given)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            try:
                remove_checkpoint(checkpoint)
            except KeyboardInterrupt:
                with fails("`resume_from_checkpoint`"):
                    find_checkpoint("true", checkpoint.parent)
        assert checkpoint.exists() == (n_deleted < n_files)


@pytest.mark.parametrize("content", ["", "null", '{"files": [1]}', '{"saved_at": "today", "files": [1]}'])
def test_checksums_that_are_damaged(content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    older, newest = (write_checkpoint(tmp_path / f"checkpoint-{step}", is_complete=True) for step in (10, 11))
    (newest / CHECKPOINT_FILE).write_text(content)
    assert find_checkpoint("true", tmp_path) == str(older)
    (said,) = caplog.messages
    check_message(said, newest, CHECKPOINT_FILE, f"continues from {older}")


def test_the_newest_is_what_was_saved_last(tmp_path: Path) -> None:
    """Step 20 is of a run that went on from step 10 in another way."""
    write_checkpoint(tmp_path / "checkpoint-20", is_complete=True)
    newest = write_checkpoint(tmp_path / "checkpoint-15", is_complete=True)
    assert find_checkpoint("true", tmp_path) == str(newest)


def test_the_best_checkpoint_must_be_whole_if_the_run_ends_with_it(tmp_path: Path) -> None:
    """It is found next to the other one, wherever the run was when it was saved."""
    best = write_checkpoint(tmp_path / "checkpoint-10", is_complete=True)
    last = write_checkpoint(tmp_path / "checkpoint-30", is_complete=True, best=10)
    assert find_checkpoint("true", tmp_path, needs_best=True) == str(last)
    (best / "model.safetensors").write_bytes((last / "model.safetensors").read_bytes())
    for chosen in ("true", str(last)):
        with fails(best, "the best", "model.safetensors", "`overwrite_output_dir`"):
            find_checkpoint(chosen, tmp_path, needs_best=True)
    assert find_checkpoint("true", tmp_path, needs_best=False) == str(last)
    best.rename(tmp_path / "kept")
    with fails(last, "best", "elsewhere/checkpoint-10", "not there"):
        find_checkpoint(str(last), tmp_path, needs_best=True)


def test_the_best_checkpoint_must_be_of_the_same_run(tmp_path: Path) -> None:
    """Another run has saved the same step in the folder where the best one was."""
    history = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    for step, best in ((1, None), (3, 1)):
        checkpoint = write_checkpoint(tmp_path / f"checkpoint-{step}", best=best)
        state = json.loads((checkpoint / "trainer_state.json").read_text()) | {"log_history": history[:step]}
        (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    assert find_checkpoint(str(checkpoint), tmp_path, needs_best=True) == str(checkpoint)
    other = tmp_path / "checkpoint-1" / "trainer_state.json"
    other.write_text(other.read_text().replace("1.0", "1.5"))
    with fails(checkpoint, tmp_path / "checkpoint-1", "another run"):
        find_checkpoint(str(checkpoint), tmp_path, needs_best=True)


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


# --- whether it is of the same run


def test_what_decides_the_result_may_not_change(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint-1", is_complete=True)
    assert start(tmp_path, resume_from_checkpoint="true", learning_rate=1, weight_decay=1) == str(checkpoint)
    for name, value in {"optim": "sgd", "seed": 3, "neftune_noise_alpha": 5, "optim_args": "a=1"}.items():
        with fails(f"`{name}` {value}", checkpoint):
            start(tmp_path, resume_from_checkpoint="true", **{name: value})


@pytest.mark.parametrize(("before", "now"), [("linear", "reduce_lr_on_plateau"), ("greedy", "linear")])
def test_a_learning_rate_with_a_history_goes_on_as_it_began(before: str, now: str, tmp_path: Path) -> None:
    was, new = (KmerTrainingArguments(output_dir="out", lr_scheduler_type=name) for name in (before, now))
    complete(tmp_path, run_settings(was), {"flags": changeable_settings(was)})
    assert check_settings(tmp_path, run_settings(was), before)
    with fails(f"`lr_scheduler_type` {before}", f"`lr_scheduler_type` {now}"):
        check_settings(tmp_path, run_settings(new), now)
    other = KmerTrainingArguments(output_dir="out", lr_scheduler_type="greedy", learning_rate=1)
    if before == "greedy":
        with fails("`learning_rate` 0.0001", "`learning_rate` 1"):
            check_settings(tmp_path, run_settings(other), "greedy")


def test_rows_are_known_by_their_checksums(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint-1", is_complete=True)
    check_rows(
        checkpoint, {"train": {"name": "b.tsv", "checksum": "1" * 64}, "test": {"name": "b.tsv", "checksum": "2"}}
    )
    with fails("b.tsv", "train", checkpoint, "111111111111", "222222222222"):
        check_rows(checkpoint, {"train": {"name": "b.tsv", "checksum": "2" * 64}})


def test_changes_are_described(tmp_path: Path) -> None:
    before, now = (
        changeable_settings(KmerTrainingArguments(output_dir="out", learning_rate=rate, bf16=True))
        for rate in (0.1, 0.2)
    )
    assert describe_changes(json.loads(json.dumps(before)), now) == "learning_rate 0.1 -> 0.2"
    assert describe_changes({}, now) == ""
    assert read_progress(tmp_path) == {}
