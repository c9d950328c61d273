"""The output folder of a training run: one run at a time owns it, and knows which files in it are its own."""

import json
import logging
import os
import re
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from kmerbert.errors import FILE_ERRORS, NETWORK_ERRORS, has_lost_worker, is_out_of_memory, one_line
from kmerbert.files import file_checksum, is_running, process_start, read_json, write_text
from kmerbert.reading.bad_rows import RejectedRow, as_tsv
from kmerbert.training.checkpoints import checkpoints_in, is_checkpoint_name, is_complete, remove_checkpoint

logger = logging.getLogger(__name__)
LOCK_FILE = ".run.lock"
# The names of all files and checkpoints that runs wrote into the folder, and the checksum of the card, which people edit.
MANIFEST, CARD = "run_files.json", "README.md"
# What runs of versions without a manifest wrote: exact names, and the parts of a model in several files.
OLD_RUN_FILES = re.compile(
    r"config\.json|model\.safetensors|model-\d{5}-of-\d{5}\.safetensors|model\.safetensors\.index\.json"
    r"|modeling_kmer_(?:conv|ensemble|regression)\.py|tokenization_kmer\.py|tokenizer\.json|tokenizer_config\.json"
    r"|vocab\.txt|special_tokens_map\.json|added_tokens\.json|README\.md|(?:train|eval|test|all)_results\.json"
    r"|trainer_state\.json|training_args\.bin|(?:validation|test)_predictions\.tsv"
)
# All that a run may write: a file of such a name that no run wrote is somebody else's, and is never replaced.
RUN_FILES = re.compile(
    rf"{OLD_RUN_FILES.pattern}|report\.html|verdict\.json|(?:validation|test)_ridge_predictions\.tsv"
)
# Lists of rows, which a run writes before it is sure to train, and perhaps instead of it: those of the input that cannot be used,
# and those that two splits share.
REJECTED_FILE, LEAKS_FILE = "rejected_rows.tsv", "leaking_rows.tsv"
ROWS_FILES = (REJECTED_FILE, LEAKS_FILE)
# Splits that have predictions and results of their own.
SCORED = {"validation": "validation|eval", "test": "test"}
# If a folder without a manifest has neither of these nor a checkpoint, it is not a run, and its files are somebody else's.
OLD_RUN_MARKS = ("trainer_state.json", "training_args.bin")
# Folders of the models of a cross-validation, each a run of its own.
FOLD_FOLDER = re.compile(r"fold_\d+")
# A killed process needs a moment to end, and may live on in its data loading workers for longer.
OWNER_PATIENCE_SECONDS, LOCK_PATIENCE_SECONDS = 1.0, 10.0


class FolderLock:
    """The right to write into a folder, which one process at a time has.

    The lock is a file that the process keeps locked, which no other can then lock; the system lets go of it when the process
    ends, in whatever way. The file says who has it. On a file system without such locks, and for processes of another
    machine, this text decides.

    Raises:
        ValueError: Another run writes into the folder, or was killed on another machine while it did.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self._file: TextIO | None = None
        began = time.monotonic()
        while not self._take():
            patience = OWNER_PATIENCE_SECONDS if self._is_owner_alive() else LOCK_PATIENCE_SECONDS
            if time.monotonic() > began + patience:
                owner = self._owner()
                raise ValueError(
                    f"`output_dir` {folder}: another run writes into it ({_describe(owner)}): wait for its end, stop it, or "
                    "name another folder"
                )
            time.sleep(0.1)
        owner = self._owner()
        if owner and owner.get("host") != socket.gethostname():
            self._let_go()
            raise ValueError(
                f"`output_dir` {folder}: a run on another machine writes into it, or was killed there ({_describe(owner)}): "
                f"if it has ended, delete {self.path}; otherwise name another folder"
            )
        me = {"host": socket.gethostname(), "process": os.getpid(), "process_start": process_start(os.getpid())}
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(me | {"since": time.strftime("%Y-%m-%d %H:%M:%S %z")}) + "\n")
        self._file.flush()

    def _take(self) -> bool:
        """Tries to lock the file; on a file system without locks, True unless its owner is running."""
        while True:
            file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 (it stays open as long as the lock is held)
            try:
                if fcntl:
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                    is_free = True
                else:
                    is_free = not self._is_owner_alive()
            except BlockingIOError:
                is_free = False
            except OSError:
                is_free = not self._is_owner_alive()
            if not is_free:
                file.close()
                return False
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                    self._file = file
                    return True
            file.close()  # the last owner deleted it after it was opened here

    def _owner(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            owner = read_json(self.path)
            return owner if isinstance(owner, dict) else {}
        return {}

    def _is_owner_alive(self) -> bool:
        owner = self._owner()
        pid = owner.get("process")
        if owner.get("host") != socket.gethostname() or not isinstance(pid, int) or pid == os.getpid():
            return False
        return is_running(pid, owner.get("process_start"))

    def _let_go(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def release(self) -> None:
        """Gives the folder back."""
        if self._file:
            self.path.unlink(missing_ok=True)
        self._let_go()


def _describe(owner: Mapping[str, Any]) -> str:
    if not owner:
        return "it does not say which"
    return f"process {owner.get('process')} on {owner.get('host')}, since {owner.get('since')}"


@dataclass
class RunFolder:
    """The output folder while a run owns it.

    At the end of its `with` block the folder is given back, and a failure says what of the run is safe and how to go on.

    Attributes:
        path: The folder.
        settings: What decides rows, network and loss, for the checkpoints.
        checkpoint: What the run continues from; None from the start.
        lock: Of the main process; None in others.
        trackers: Programs that the run logs to.
        to_delete: Names in the folder of an earlier run's files and checkpoints, which are deleted before training starts.
        has_folds: Whether it is that of a cross-validation, whose models are trained in folders within it.
        whole: Of such a folder within, the folder of the cross-validation; otherwise None.
        is_resumed: Whether folds of an earlier start are continued.
        is_finished: Whether all of the run was done at an earlier start.
        is_training, is_saved: Whether the run has begun to train, and whether its final model is in the folder.
    """

    path: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    lock: FolderLock | None = None
    trackers: tuple[str, ...] = ()
    to_delete: tuple[str, ...] = ()
    has_folds: bool = False
    whole: "RunFolder | None" = None
    is_resumed: bool = False
    is_finished: bool = False
    is_training: bool = False
    is_saved: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.lock:
            if self.is_saved:
                with suppress(OSError, ValueError):  # the card is not there, or the disk is full
                    self._write_manifest(_noted(self.path) or (), file_checksum(self.path / CARD))
            self.lock.release()
            if self.whole:
                with suppress(OSError):  # it is not empty, if the fold has been trained
                    self.path.rmdir()
        if isinstance(error, KeyboardInterrupt):  # that of a fold says already what is safe
            raise KeyboardInterrupt(str(error) or self.what_is_safe()) from error
        if isinstance(error, Exception) and is_out_of_memory(error):
            raise ValueError(
                f"out of memory ({one_line(error, 200)}): lower `per_device_train_batch_size` and "
                "`per_device_eval_batch_size`, and raise `gradient_accumulation_steps` by as much; "
                f"{self.what_is_safe()}"
            ) from error
        if has_lost_worker(error):
            raise ValueError(
                f"a process that reads batches has ended, perhaps because memory or /dev/shm is short ({one_line(error, 200)}): "
                f"lower `dataloader_num_workers`; {self.what_is_safe()}"
            ) from error
        if (tracker := type(error).__module__.partition(".")[0]) in self.trackers and isinstance(error, Exception):
            raise ValueError(
                f"`report_to` {tracker}: {one_line(error)}: set it up, or leave the flag out; {self.what_is_safe()}"
            ) from error
        if self.is_training and isinstance(error, (*FILE_ERRORS, ValueError, ImportError)):
            raise ValueError(f"{one_line(error, 2000)}; {self.what_is_safe()}") from error
        if isinstance(error, NETWORK_ERRORS):  # such as before a push, for which the repository is made first
            raise ValueError(one_line(error)) from error
        if self.is_saved and isinstance(error, Exception):
            logger.error("%s", self.what_is_safe())

    def what_is_safe(self) -> str:
        """Says where a run that ends now can be taken up again."""
        if self.is_saved:
            return f"the model is saved in {self.path}"
        if cross_validation := self if self.has_folds else self.whole:
            return f"what is done of the folds in {cross_validation.path} is safe: continue with `resume_from_checkpoint` true"
        whole = [path for path in checkpoints_in(self.path) if is_complete(path)]
        if whole and (self.is_training or self.checkpoint):
            return f"{whole[-1]} is complete: continue from it with `resume_from_checkpoint` true"
        return "nothing was saved yet"

    def note(self, *names: str) -> None:
        """Adds names to the list of the files that runs wrote here, before they are written."""
        self._write_manifest({*(_noted(self.path) or ()), *names}, _read_manifest(self.path).get("card"))

    def list_rejected(self, rows: Sequence[tuple[str, RejectedRow]]) -> str:
        """Lists rows that cannot be used, each with the name of its file; otherwise as `list_rows`."""
        return self.list_rows(REJECTED_FILE, as_tsv(rows))

    def list_rows(self, name: str, text: str) -> str:
        """Writes one of `ROWS_FILES` into the folder, of folds into that of the whole.

        Returns:
            Its path.

        Raises:
            ValueError: It would replace a file that no run wrote.
        """
        owner = self.whole or self
        path = owner.path / name
        if self.lock:
            if os.path.lexists(path) and name not in (_noted(owner.path) or ()):
                raise ValueError(
                    f"`output_dir` {owner.path}: no run wrote {name}, and this one would replace it: move it, or name "
                    "another folder"
                )
            owner.note(name)
            owner.to_delete = tuple(other for other in owner.to_delete if other != name)
            write_text(path, text)
        return str(path)

    def _write_manifest(self, names: Collection[str], card: str | None) -> None:
        write_text(self.path / MANIFEST, json.dumps({"card": card, "files": sorted(names)}, indent=2) + "\n")

    def keep_edited_card(self) -> None:
        """Renames a card that was edited after its run, before this run replaces it."""
        card, known = self.path / CARD, _read_manifest(self.path).get("card")
        if known and card.is_file() and not card.is_symlink() and file_checksum(card) != known:
            names = (f"README.edited{number}.md" for number in ("", *range(2, 1000)))
            kept = next(name for name in names if not os.path.lexists(self.path / name))
            card.rename(self.path / kept)
            logger.info("%s was edited after its run wrote it: it stays as %s", card, kept)

    def clear(self, splits: Collection[str]) -> None:
        """Deletes the earlier run's files, before this run writes its own.

        Args:
            splits: Names of the splits that the run scores.

        Raises:
            ValueError: The run would replace a file that no run wrote; nothing was deleted.
        """
        if self.whole:
            self.whole.clear(splits)
            self.whole.note(self.path.name)
        if self.is_resumed or (self.checkpoint and Path(self.checkpoint).resolve().parent == self.path.resolve()):
            self.keep_edited_card()
            return
        others = sorted(path.name for path in self.path.iterdir() if path.name not in self.to_delete)
        unscored = "|".join(prefix for split, prefix in SCORED.items() if split not in splits)
        for name in others:
            if RUN_FILES.fullmatch(name) and not (unscored and re.match(f"({unscored})_", name)):
                raise ValueError(
                    f"`output_dir` {self.path}: no run wrote {name}, and this one would replace it: move it, or name another "
                    "folder"
                )
        self.keep_edited_card()
        _delete(self.path, self.to_delete)
        self.to_delete = ()

    def remove_old_checkpoints(self, limit: int | None, best: str | None) -> None:
        """Deletes the oldest checkpoints, but never the newest or the best, until there are no more than the limit.

        Args:
            limit: Checkpoints to keep; None or 0 for all.
            best: Path of the best one; None if there is none.
        """
        own = checkpoints_in(self.path)
        protected = {path for path in own if path == own[-1] or (best and path.name == Path(best).name)}
        excess = len(own) - max(limit, len(protected)) if limit else 0
        for path in [path for path in own if path not in protected][: max(excess, 0)]:
            remove_checkpoint(path)

    def keep_only(self, best: str) -> None:
        """Deletes all checkpoints but the best."""
        for path in checkpoints_in(self.path):
            if path.name != Path(best).name:
                remove_checkpoint(path)


def _delete(folder: Path, names: Collection[str]) -> None:
    """Deletes files, checkpoints and folds of an earlier run; of a fold's folder, what runs wrote there."""
    for name in names:
        path = folder / name
        if is_checkpoint_name(name):
            remove_checkpoint(path)
        elif FOLD_FOLDER.fullmatch(name) and path.is_dir():
            _delete(path, files_of_runs(path) or ())
            with suppress(OSError):  # it contains something else, such as the lock of the run that begins there
                path.rmdir()
        elif path.is_file() and not path.is_symlink():
            path.unlink()


def claim_folder(folder: Path, overwrite: bool, checkpoint: str | None) -> tuple[str, ...]:
    """Makes sure that a folder contains nothing that would be lost.

    Args:
        folder: Of the run.
        overwrite: Delete an earlier run's files, and nothing else.
        checkpoint: What the run resumes from, which may be in the folder.

    Returns:
        Names of the earlier run's files, which are to be deleted.

    Raises:
        ValueError: The folder contains something, and is neither overwritten nor resumed.
    """
    if checkpoint is not None and Path(checkpoint).resolve().parent == folder.resolve():
        return ()
    # A list of files, or of rows, alone is of a run that failed before it wrote anything else.
    early = [name for name in ROWS_FILES if name in (_noted(folder) or ()) and (folder / name).is_file()]
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    present = sorted(name for name in names if name != MANIFEST and name not in early)
    if not overwrite:
        if present:
            raise ValueError(
                f"`output_dir` {folder} is not empty (it contains {_first(present)}): name another folder, continue with "
                "`resume_from_checkpoint` true, or start again with `overwrite_output_dir`"
            )
        return tuple(early)
    names = files_of_runs(folder)
    if present and names is None:
        raise ValueError(
            f"`overwrite_output_dir`: {folder} contains {_first(present)}, but no run ({MANIFEST}, "
            f"{', '.join(OLD_RUN_MARKS)} or a checkpoint): nothing was deleted; name another folder"
        )
    if names:
        logger.info("`overwrite_output_dir`: before training, these are deleted in %s: %s", folder, ", ".join(names))
    if others := [name for name in present if name not in (names or ())]:
        logger.info("no run wrote these, which stay: %s", _first(others))
    return tuple(names or ())


def files_of_runs(folder: Path) -> list[str] | None:
    """Returns the names of what runs wrote into a folder and what is there: files, checkpoints, folds; None if it is no run's.

    A symbolic link is never a run's.
    """
    noted = _noted(folder)
    real = [path for path in folder.iterdir() if not path.is_symlink()]
    checkpoints = [path.name for path in checkpoints_in(folder) if noted is None or path.name in noted]
    files = [path.name for path in real if path.is_file()]
    if noted is None:
        if not checkpoints and not set(OLD_RUN_MARKS) & set(files):
            return None
        return sorted(checkpoints + [name for name in files if OLD_RUN_FILES.fullmatch(name)])
    folds = [path.name for path in real if path.is_dir() and FOLD_FOLDER.fullmatch(path.name) and path.name in noted]
    return sorted(checkpoints + folds + [name for name in files if name in noted or name == MANIFEST])


def _noted(folder: Path) -> Collection[str] | None:
    """Names that runs noted in a folder; None without a list of them."""
    names = _read_manifest(folder).get("files")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else None


def _read_manifest(folder: Path) -> dict[str, Any]:
    """What runs noted in a folder; empty if there is nothing."""
    with suppress(OSError, ValueError):
        content = read_json(folder / MANIFEST)
        content = {"files": content} if isinstance(content, list) else content  # of an earlier version
        return content if isinstance(content, dict) else {}
    return {}


def _first(names: Collection[str]) -> str:
    return f"{', '.join(list(names)[:3])}{', ...' if len(names) > 3 else ''}"
