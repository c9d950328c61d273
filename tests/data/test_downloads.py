"""Downloads from a server that misbehaves, by the program that reads the challenge: whole and right, or without a name."""

import json
import resource
import shutil
import socket
import tarfile
import time
from pathlib import Path

import pytest

from tests.support.file_server import Fault
from tests.support.gpra_mirror import CONTENT, CUT, DEMO, HUB, RECORD, TRAIN, archive, md5, names, record, sha256

pytest_plugins = ["tests.support.gpra_fixtures"]


@pytest.mark.parametrize(("group", "path"), [("train", TRAIN), ("demo", DEMO)])
def test_a_cut_connection_is_taken_up_again(fetch, server, folder, group, path) -> None:
    server.faults[path] = [CUT, Fault(cut=70_000)]
    fetch(group)
    first, second, third = server.ranges(path)
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in (second, third)]
    assert first is None
    assert 0 < starts[0] <= 150_000
    assert starts[0] < starts[1] <= starts[0] + 70_000
    assert (folder / Path(path).name).read_bytes() == CONTENT


def test_a_connection_may_be_cut_often_as_long_as_bytes_come(fetch, server, folder) -> None:
    server.faults[TRAIN] = [Fault(cut=70_000)] * 4
    fetch("train", flags=("--retries", "1"))
    assert len(server.ranges(TRAIN)) == 5
    assert (folder / "train_sequences.txt").read_bytes() == CONTENT


def test_the_next_call_goes_on_where_the_last_one_stopped(fetch, refused, server, folder) -> None:
    server.faults[TRAIN] = [CUT]
    message = refused("train", flags=("--retries", "0"))
    assert "the connection was cut 1 times in a row" in message
    assert "run the same command again to go on, or name a mirror with --zenodo_url" in message
    assert names(folder) == ["train_sequences.txt.part", "train_sequences.txt.part.json"]
    part = (folder / "train_sequences.txt.part").read_bytes()
    assert 0 < len(part) < len(CONTENT)
    assert CONTENT.startswith(part)
    fetch("train")
    assert server.ranges(TRAIN) == [None, f"bytes={len(part)}-"]
    assert (folder / "train_sequences.txt").read_bytes() == CONTENT
    assert names(folder) == ["SHA256SUMS", "train_sequences.txt"]


def test_a_call_that_stopped_before_the_check_needs_no_further_byte(fetch, server, folder) -> None:
    folder.mkdir()
    (folder / "train_sequences.txt.part").write_bytes(CONTENT)
    (folder / "train_sequences.txt.part.json").write_text(json.dumps({"validator": '"1"', "total": len(CONTENT)}))
    fetch("train")
    assert server.ranges(TRAIN) == []
    assert (folder / "train_sequences.txt").read_bytes() == CONTENT


@pytest.mark.parametrize("note", ["", "{", "[1]", '{"validator": null, "total": 7}'])
def test_a_part_of_unknown_origin_is_not_trusted(fetch, server, folder, note) -> None:
    folder.mkdir()
    (folder / "demo_train.txt.part").write_bytes(b"something else")
    (folder / "demo_train.txt.part.json").write_text(note)
    fetch("demo")
    assert server.ranges(DEMO) == [None]
    assert (folder / "demo_train.txt").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(fetch, server, folder) -> None:
    server.faults[TRAIN] = [CUT, Fault(ranges=False)]
    fetch("train")
    assert len(server.ranges(TRAIN)) == 2
    assert (folder / "train_sequences.txt").read_bytes() == CONTENT


@pytest.mark.parametrize("if_range", [True, False], ids=["heeded", "not heeded"])
@pytest.mark.parametrize("changed", [CONTENT[::-1], CONTENT + b"more", b"short"], ids=["bytes", "longer", "shorter"])
def test_a_file_that_changes_between_attempts_is_fetched_anew(fetch, refused, server, folder, changed, if_range):
    server.faults[DEMO] = [CUT]
    refused("demo", flags=("--retries", "0"))
    server.files[DEMO] = changed
    server.faults[DEMO] = [Fault(if_range=if_range)]
    fetch("demo")
    assert (folder / "demo_train.txt").read_bytes() == changed
    assert server.ranges(DEMO)[1].startswith("bytes=")
    assert server.ranges(DEMO)[2:] == ([] if if_range else [None])


def test_parts_without_an_etag_are_joined_only_when_a_checksum_follows(fetch, server, folder) -> None:
    for path in (TRAIN, DEMO):
        server.faults[path] = [Fault(cut=150_000, validator=False), Fault(validator=False)]
    fetch("train", "demo")
    assert server.ranges(DEMO) == [None, None]
    assert server.ranges(TRAIN)[1].startswith("bytes=")
    assert (folder / "demo_train.txt").read_bytes() == (folder / "train_sequences.txt").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(fetch, server, folder, status) -> None:
    server.faults[TRAIN] = [Fault(status=status)] * 2
    fetch("train")
    assert server.ranges(TRAIN) == [None] * 3
    assert (folder / "train_sequences.txt").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "status", "attempts", "message"),
    [
        (
            TRAIN,
            503,
            3,
            "/train_sequences.txt?download=1: the server answers 503 Service Unavailable to every attempt:",
        ),
        (
            TRAIN,
            404,
            1,
            "/train_sequences.txt?download=1: the server answers 404 Not Found: 127.0.0.1:",
        ),
        (TRAIN, 403, 1, "the server answers 403 Forbidden: "),
        (TRAIN, 206, 1, "the server answers 206 Partial Content: "),
        (RECORD, 503, 3, f"{RECORD}: the server answers 503 Service Unavailable to every attempt: "),
    ],
)
def test_answers_without_a_file(refused, server, folder, path, status, attempts, message) -> None:
    server.for_ever[path] = Fault(status=status)
    found = refused("train")
    assert message in found
    assert ("run the same command again to go on, or name a mirror with --zenodo_url" in found) == (status != 404)
    assert (" has no train_sequences.txt: name a mirror with --zenodo_url\n" in found) == (status == 404)
    assert len(server.ranges(path)) == attempts
    assert names(folder) == []


def test_wrong_bytes_are_not_kept(refused, server, folder) -> None:
    server.files[TRAIN] = CONTENT[::-1]
    message = refused("train")
    assert "wrong bytes: MD5 hash of downloaded file (train_sequences.txt) does not match the known hash: " in message
    assert f"expected md5:{md5(CONTENT)} but got {md5(CONTENT[::-1])}" in message
    assert names(folder) == []


def test_a_length_that_is_never_reached(refused, server, folder) -> None:
    server.for_ever[DEMO] = Fault(length=len(CONTENT) + 100)
    assert "the connection was cut 3 times in a row" in refused("demo")
    assert names(folder) == ["demo_train.txt.part", "demo_train.txt.part.json"]


def test_a_length_that_is_too_short(refused, server, folder) -> None:
    server.for_ever[TRAIN] = Fault(length=1000)
    assert "the server announces 1,000 bytes, but the file has 300,000" in refused("train")
    assert names(folder) == []


def test_a_length_that_is_not_said(fetch, server, folder) -> None:
    server.faults[DEMO] = [Fault(chunked=True)]
    server.faults[TRAIN] = [Fault(chunked=True, cut=100_000), Fault(chunked=True)]
    fetch("demo", "train")
    assert (folder / "demo_train.txt").read_bytes() == (folder / "train_sequences.txt").read_bytes() == CONTENT


def test_nobody_there(program, folder, capsys) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(SystemExit) as stopped:
        program.main(["--files", "demo", "--output_dir", str(folder), "--repository_url", url, "--backoff", "0"])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {url}{DEMO}: no answer (Failed to establish a new connection: ")
    assert message.endswith("or name a mirror with --repository_url\n")


@pytest.mark.parametrize(
    "page", [b"\n <!DOCTYPE html><html>Sign in</html>", b"version https://git-lfs.github.com/spec/v1"]
)
def test_a_page_is_not_taken_for_a_file(refused, server, folder, page) -> None:
    server.files[DEMO] = page
    assert "the answer is a web page or a pointer, not the file" in refused("demo")
    assert names(folder) == []


def test_archives_are_unpacked_and_their_files_noted(fetch, server, folder, monkeypatch) -> None:
    link = tarfile.TarInfo("test_subset_ids/link.csv")
    link.type, link.linkname = tarfile.SYMTYPE, "high_exp_seqs.csv"
    first = archive("./test_subset_ids/high_exp_seqs.csv", "./test_subset_ids/._high_exp_seqs.csv", link)
    second = archive("ground.json")
    server.files[RECORD] = record(test_subset_ids__tar__gz=first, public_leaderboard_ids__tar__gz=second)
    server.files |= {
        "/records/10633252/files/test_subset_ids.tar.gz": first,
        "/records/10633252/files/public_leaderboard_ids.tar.gz": second,
    }
    sums = fetch("archives")
    unpacked = ["public_leaderboard_ids/ground.json", "test_subset_ids/high_exp_seqs.csv"]
    packed = ["public_leaderboard_ids.tar.gz", "test_subset_ids.tar.gz"]
    assert names(folder) == sorted(["SHA256SUMS", *packed, *unpacked])
    assert (folder / unpacked[1]).read_text() == "./test_subset_ids/high_exp_seqs.csv"
    assert sums == {name: sha256((folder / name).read_bytes()) for name in [*packed, *unpacked]}
    server.asked.clear()
    assert fetch("archives") == sums
    assert server.asked == []


def test_an_archive_does_not_replace_other_files(fetch, refused, server, folder) -> None:
    packed = archive("ground.json", "another.json")
    server.files["/records/10633252/files/public_leaderboard_ids.tar.gz"] = packed
    server.files["/records/10633252/files/test_subset_ids.tar.gz"] = packed
    server.files[RECORD] = record(public_leaderboard_ids__tar__gz=packed, test_subset_ids__tar__gz=packed)
    (folder / "public_leaderboard_ids").mkdir(parents=True)
    (folder / "public_leaderboard_ids" / "ground.json").write_text("mine")
    assert "differs from the file in" in refused("archives")
    assert names(folder / "public_leaderboard_ids") == ["ground.json"]
    fetch("archives", flags=("--overwrite",))
    assert (folder / "public_leaderboard_ids" / "ground.json").read_text() == "ground.json"


@pytest.mark.parametrize("name", ["../../evil.csv", "test_subset_ids/../../evil.csv"])
def test_a_member_that_would_land_elsewhere(refused, server, folder, name, tmp_path) -> None:
    packed = archive("test_subset_ids/good.csv", name)
    server.files["/records/10633252/files/public_leaderboard_ids.tar.gz"] = packed
    server.files[RECORD] = record(public_leaderboard_ids__tar__gz=packed)
    message = refused("archives")
    assert "public_leaderboard_ids.tar.gz cannot be unpacked" in message
    assert "outside the destination" in message
    assert not list(tmp_path.rglob("evil.csv"))
    assert names(folder) == ["public_leaderboard_ids.tar.gz"]


def test_half_an_archive_without_a_checksum_is_not_kept(refused, server, folder) -> None:
    packed = archive(*[f"{number}.csv" for number in range(100)])
    server.files["/records/10633252/files/public_leaderboard_ids.tar.gz"] = packed[: len(packed) // 2]
    del server.files[RECORD]
    assert "cannot be unpacked" in refused("archives")
    assert names(folder) == []


def test_another_length_means_another_file(program, refused, fetch, server, folder, monkeypatch) -> None:
    monkeypatch.setattr(program, "CATALOGUE", f"hub_train hub\n  shard.parquet 0 {sha256(CONTENT)}")
    path = f"{HUB}shard.parquet"
    server.files[path] = CONTENT[::-1] + b"more"
    server.faults[path] = [Fault(cut=150_000, validator=False), Fault(validator=False)]
    refused("hub_train", flags=("--retries", "0"))
    server.files[path] = CONTENT
    fetch("hub_train")
    assert (folder / "shard.parquet").read_bytes() == CONTENT


def test_a_full_disk(refused, fetch, server, folder, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage("/")._replace(free=1000)
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        assert "train_sequences.txt: 1,000 bytes are free, 300,000 are needed, 0 bytes written: mend that" in refused(
            "train"
        )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        message = refused("train")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (
        "train_sequences.txt: File too large, 100,000 bytes written: mend that, or name another --output_dir" in message
    )
    fetch("train")
    assert server.ranges(TRAIN)[-1].startswith("bytes=")
    assert (folder / "train_sequences.txt").read_bytes() == CONTENT


def test_an_interruption_leaves_a_part(fetch, server, folder, monkeypatch, capsys) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    server.faults[TRAIN] = [CUT]
    with pytest.raises(SystemExit) as stopped:
        fetch("train")
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "interrupted: the same command goes on from there\n"
    assert "train_sequences.txt" not in names(folder)
    fetch("train")
    assert server.ranges(TRAIN)[1].startswith("bytes=")
    assert (folder / "train_sequences.txt").read_bytes() == CONTENT


def test_damaged_checksums_are_refused(refused, folder) -> None:
    folder.mkdir()
    (folder / "SHA256SUMS").write_text(f"{sha256(b'')}  good.txt\n123 demo_train.txt\n")
    assert "SHA256SUMS, line 2: '123 demo_train.txt' is no SHA-256 and file name" in refused("demo")
