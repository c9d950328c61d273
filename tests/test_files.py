"""Files are written whole or not at all; checksums are right at any time, remembered where nothing can have changed."""

import doctest
import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from kmerbert import files
from kmerbert.files import (
    check_folder,
    file_checksum,
    is_writer_gone,
    read_json,
    scratch_folder,
    split_endings,
    whole_file,
    write_text,
    writer_tag,
)
from tests.support.messages import fails

# --- writing


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    with whole_file(path) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("is_begun", [True, False])
def test_an_error_leaves_nothing_behind(error: type[BaseException], is_begun: bool, tmp_path: Path) -> None:
    with pytest.raises(error), whole_file(tmp_path / "a.tsv") as partial:
        if is_begun:
            partial.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_an_existing_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("old")
    before = path.stat()
    with pytest.raises(ValueError, match="stop"), whole_file(path) as partial:
        partial.write_text("half")
        raise ValueError("stop")
    assert path.read_text() == "old"
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), whole_file(path):
        pass
    assert path.read_text() == "old"


@pytest.mark.parametrize("is_relative", [True, False])
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_and_its_target_is_replaced(is_relative: bool, exists: bool, tmp_path: Path) -> None:
    target, link = tmp_path / "data" / "real.tsv", tmp_path / "link.tsv"
    target.parent.mkdir()
    if exists:
        target.write_text("old")
    link.symlink_to(Path("data/real.tsv") if is_relative else target)
    with whole_file(link) as partial:
        partial.write_text("new")
        assert partial.parent == target.parent  # a rename cannot cross file systems
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.read_text() == link.read_text() == "new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "link.tsv", "real.tsv"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    with whole_file(path) as first, whole_file(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ends last
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "absent" / "a.tsv") as partial:
        partial.write_text("new")
    assert list(tmp_path.iterdir()) == []


def test_text_is_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "\u03b1 \N{MINUS SIGN}1\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xce\xb1 \xe2\x88\x921\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


# --- names and folders


@pytest.mark.parametrize(
    ("name", "endings"),
    [
        ("a.tsv", (".tsv", None)),
        ("a.TSV.GZ", (".tsv", "gzip")),
        ("a.csv.zst", (".csv", "zstd")),
        ("a.jsonl.bz2", (".jsonl", "bz2")),
        ("a.gz", ("", "gzip")),
        ("a.b.c", (".c", None)),
        ("a.gz.tsv", (".tsv", None)),
        ("a.gz.gz", (".gz", "gzip")),
        ("a", ("", None)),
        (".tsv", ("", None)),
        ("a.d/b", ("", None)),
        ("a.d/b.fa", (".fa", None)),
    ],
)
def test_endings(name: str, endings: tuple[str, str | None]) -> None:
    assert split_endings(Path(name)) == endings


def test_a_folder_is_checked_but_not_made(tmp_path: Path) -> None:
    check_folder(tmp_path, "`output_dir`")
    check_folder(tmp_path / "a" / "b", "`output_dir`")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", [".", "b", "b/c"])
def test_a_folder_that_is_a_file(below: str, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("old")
    folder = tmp_path / "a.tsv" / below
    with fails(f"`output_dir` {folder} ", f"{tmp_path}/a.tsv:", "Not a directory"):
        check_folder(folder, f"`output_dir` {folder}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tsv"]
    assert (tmp_path / "a.tsv").read_text() == "old"


@pytest.mark.parametrize(("number", "reason"), [(13, "Permission denied"), (28, "No space left on device")])
def test_a_folder_that_cannot_be_written(
    number: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise OSError(number, reason)

    monkeypatch.setattr(files, "TemporaryFile", fail)
    with fails("`output_dir`", f"{tmp_path}:", reason):
        check_folder(tmp_path / "a", "`output_dir`")


# --- checksums

# sha256 of "abc", FIPS 180-2, appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
FALSE = "0" * 64


@pytest.fixture
def abc(tmp_path: Path) -> Path:
    path = tmp_path / "a.tsv"
    path.write_text("abc")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where checksums are remembered; files count as settled at once."""
    monkeypatch.setattr(files, "SETTLED_SECONDS", -60.0)
    return tmp_path / "known" / "checksums"


def plant(folder: Path) -> None:
    """Makes the one remembered checksum false, so that reading it again is seen."""
    (note,) = folder.iterdir()
    assert note.read_text() == ABC
    note.write_text(FALSE)


def change(path: Path, text: str) -> None:
    """Writes other text of the same length and sets the file's time back to what it was."""
    before = path.stat()
    while True:
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        if path.stat().st_ctime_ns != before.st_ctime_ns:
            return


def test_the_file_is_read_once(abc: Path, folder: Path) -> None:
    assert file_checksum(abc, folder) == ABC
    plant(folder)
    assert file_checksum(abc, folder) == FALSE
    assert file_checksum(abc) == ABC
    assert len(list(folder.iterdir())) == 1


def test_a_changed_file_of_the_same_size_and_time_is_read_again(abc: Path, folder: Path) -> None:
    file_checksum(abc, folder)
    plant(folder)
    change(abc, "abd")
    assert file_checksum(abc, folder) == hashlib.sha256(b"abd").hexdigest()


def test_a_file_that_took_the_place_of_another_is_read(abc: Path, folder: Path) -> None:
    file_checksum(abc, folder)
    plant(folder)
    other = abc.with_name("other.tsv")
    other.write_text("xyz")
    os.utime(other, ns=(abc.stat().st_atime_ns, abc.stat().st_mtime_ns))
    os.replace(other, abc)
    assert file_checksum(abc, folder) == hashlib.sha256(b"xyz").hexdigest()


def test_a_file_that_was_written_just_now_is_not_remembered(abc: Path, tmp_path: Path) -> None:
    assert file_checksum(abc, tmp_path / "known") == ABC
    assert not (tmp_path / "known").exists()


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    abc: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hashlib.file_digest

    def digest(file: Any, name: str) -> Any:
        checksum = real(file, name)
        change(abc, "abd")
        return checksum

    monkeypatch.setattr(hashlib, "file_digest", digest)
    assert file_checksum(abc, folder) == ABC
    assert not folder.exists()


@pytest.mark.parametrize("damage", [b"", b"ba78", b"\xff" * 64, ABC.upper().encode()])
def test_a_damaged_note_is_written_again(damage: bytes, abc: Path, folder: Path) -> None:
    file_checksum(abc, folder)
    (note,) = folder.iterdir()
    note.write_bytes(damage)
    assert file_checksum(abc, folder) == ABC
    assert note.read_text() == ABC
    assert list(folder.iterdir()) == [note]


def test_a_folder_that_cannot_be_written_is_no_error(abc: Path, folder: Path) -> None:
    folder.parent.write_text("a file where the folder should be")
    assert file_checksum(abc, folder) == ABC


def test_a_file_that_is_not_there(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent.tsv"):
        file_checksum(tmp_path / "absent.tsv", folder)


def test_json_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1, "a": 2}')
    assert read_json(path) == {"a": 2}
    assert read_json(path, object_pairs_hook=list) == [("a", 1), ("a", 2)]
    for content, part in ((b'{"a": ', "line 1"), (b'"\xff"', "0xff"), (b"[" * 100_000, "nested")):
        path.write_bytes(content)
        with fails(path, "not JSON", part):
            read_json(path)


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(files)
    assert result.attempted
    assert not result.failed


# --- what killed processes leave, and full disks


def gone() -> str:
    """The tag of a process of this machine that has ended."""
    process = os.fork()
    if not process:
        os._exit(0)
    os.waitpid(process, 0)
    return f"{writer_tag().partition('-')[0]}-{process}-1"


def test_the_writer_of_an_unfinished_file_is_known() -> None:
    own = writer_tag()
    host, pid, start = own.split("-")
    assert int(pid) == os.getpid()
    assert not is_writer_gone(own)
    assert is_writer_gone(f"{host}-{pid}-{int(start) + 1}")  # its number is another process's by now
    assert is_writer_gone(gone())
    for unknown in (f"{'0' * 8}-{2**22 + 1}-1", "writing", "", f"{host}-x-1", f"{host}-{pid}"):
        assert not is_writer_gone(unknown)


def test_what_killed_processes_left_is_deleted(tmp_path: Path) -> None:
    left, running, other = gone(), writer_tag(), f"{'0' * 8}-{2**22 + 1}-1"
    for tag in (left, running, other):
        (tmp_path / f".a.tsv.{tag}.12345678.partial").write_text("half")
        (tmp_path / f"writing-{tag}-12345678").mkdir()
        (tmp_path / f"writing-{tag}-12345678" / "ids").write_text("half")
    (tmp_path / "writing-notes").mkdir()
    (tmp_path / f".b.tsv.{left}.12345678.partial").write_text("of another file")
    write_text(tmp_path / "a.tsv", "whole")
    with scratch_folder(tmp_path) as scratch:
        (scratch / "ids").write_text("half")
        assert scratch.name.startswith(f"writing-{running}")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("a.tsv", "writing-notes", f".b.tsv.{left}.12345678.partial"),
        *(f".a.tsv.{tag}.12345678.partial" for tag in (running, other)),
        *(f"writing-{tag}-12345678" for tag in (running, other)),
    }


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "x"), "No space left"),
        (OSError(errno.EDQUOT, "x"), "quota"),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "No space left"),
        (OSError("[Errno 28] Error writing bytes to file"), "No space left"),
        (
            RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file"),
            "cut short",
        ),
        (OSError("8192 requested and 1016 written"), "cut short"),
        (OSError(errno.ENOENT, "x"), None),
        (ValueError("line 28"), None),
        (RuntimeError("CUDA error 28"), None),
    ],
)
def test_a_full_disk_is_one_message(error: Exception, reason: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    if reason is None:
        with pytest.raises(type(error)) as caught, whole_file(path):
            raise error
        assert caught.value is error
    else:
        with fails(path, reason, "free"), whole_file(path) as partial:
            partial.write_text("half")
            raise error
    assert list(tmp_path.iterdir()) == []
