"""Checksums of files: right at any time, remembered only where nothing can have changed."""

import hashlib
import os
from pathlib import Path

import pytest

from kmerbert import files as checksums
from kmerbert.files import file_checksum

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
    monkeypatch.setattr(checksums, "SETTLED_SECONDS", -60.0)
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

    def digest(file, name: str) -> object:
        found = real(file, name)
        change(abc, "abd")
        return found

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
