"""The challenge's files: which there are, what is known of them, and when those that are there stay as they are."""

import pytest

from kmerbert.scoring import dream as challenge
from tests.support.gpra_mirror import CONTENT, CUT, DEMO, HUB, RECORD, TRAIN, md5, names, record, sha256

pytest_plugins = ["tests.support.gpra_fixtures"]


def test_a_file_arrives_whole_and_is_not_fetched_again(fetch, server, folder, capsys) -> None:
    assert fetch("train") == {"train_sequences.txt": sha256(CONTENT)}
    assert (folder / "train_sequences.txt").read_bytes() == CONTENT
    assert (folder / "SHA256SUMS").read_text() == f"{sha256(CONTENT)}  train_sequences.txt\n"
    assert names(folder) == ["SHA256SUMS", "train_sequences.txt"]
    assert "300,000 bytes, checksum as in Zenodo record 10633252" in capsys.readouterr().out
    server.asked.clear()
    fetch("train")
    assert server.asked == []
    assert "checksum as in SHA256SUMS" in capsys.readouterr().out


def test_a_file_from_elsewhere_is_checked_and_kept(fetch, server, folder) -> None:
    folder.mkdir()
    (folder / "train_sequences.txt").write_bytes(CONTENT)
    fetch("train")
    assert server.asked == [(RECORD, None)]
    assert sha256(CONTENT) in (folder / "SHA256SUMS").read_text()


def test_an_unknown_checksum_is_noted_and_checked_from_then_on(fetch, refused, server, folder, capsys) -> None:
    fetch("demo")
    assert "checksum not public: what came is now noted in SHA256SUMS" in capsys.readouterr().out
    path = folder / "demo_train.txt"
    path.write_bytes(b"edited")
    message = refused("demo")
    assert f"is there with checksum {sha256(b'edited')} instead of sha256:{sha256(CONTENT)}" in message
    assert "add --overwrite to replace it" in message
    assert path.read_bytes() == b"edited"
    fetch("demo", flags=("--overwrite",))
    assert path.read_bytes() == CONTENT
    path.unlink()
    server.files[DEMO] = b"another file under the same address"
    message = refused("demo")
    assert "/demo_train.txt: wrong bytes: SHA256 hash of downloaded file (demo_train.txt) does not match" in message
    found = f"expected sha256:{sha256(CONTENT)} but got {sha256(server.files[DEMO])}"
    assert message.endswith(f"{found}. Run the same command again, or delete its line in SHA256SUMS\n")
    assert names(folder) == ["SHA256SUMS"]


def test_overwriting_that_fails_leaves_what_was_there(refused, server, folder) -> None:
    folder.mkdir()
    path = folder / "train_sequences.txt"
    path.write_bytes(b"old")
    assert f"checksum {md5(b'old')} instead of md5:{md5(CONTENT)}" in refused("train")
    server.files[TRAIN] = CONTENT[::-1]
    assert "wrong bytes" in refused("train", flags=("--overwrite",))
    assert path.read_bytes() == b"old"
    assert names(folder) == ["train_sequences.txt"]


def test_a_file_that_nothing_is_known_of_is_left_alone(refused, server, folder) -> None:
    folder.mkdir()
    (folder / "demo_train.txt").write_bytes(b"mine")
    for flags in ((), ("--overwrite",)):
        assert "nothing says whether it is the right file: move it away" in refused("demo", flags=flags)
    assert (folder / "demo_train.txt").read_bytes() == b"mine"
    assert server.asked == []


def test_a_mirror_without_the_record(fetch, server, capsys) -> None:
    del server.files[RECORD]
    fetch("train")
    assert "checksum not public" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (record(other__txt=b"", a__txt=b""), "Zenodo record 10633252 has no train_sequences.txt, but a.txt, other.txt"),
        (b"<html>Sign in</html>", "the answer lists no files with size and checksum"),
        (b'{"files": [{"key": "train_sequences.txt"}]}', "the answer lists no files with size and checksum"),
    ],
)
def test_records_that_do_not_help(refused, server, folder, answer, message) -> None:
    server.files[RECORD] = answer
    assert message in refused("train")
    assert names(folder) == []


def test_files_of_the_hub_are_checked_against_the_pinned_checksums(
    program, refused, fetch, server, folder, monkeypatch
):
    path = f"{HUB}supervised/validation-00000-of-00001.parquet"
    server.files[path] = CONTENT
    assert "but got" in refused("hub_validation")
    assert names(folder) == []
    monkeypatch.setattr(
        program,
        "CATALOGUE",
        f"hub_validation hub supervised/\n  validation-00000-of-00001.parquet 0 {sha256(CONTENT)}",
    )
    server.faults[path] = [CUT]
    fetch("hub_validation")
    assert (folder / "supervised/validation-00000-of-00001.parquet").read_bytes() == CONTENT
    assert len(server.ranges(path)) == 3


def test_the_hubs_address_may_come_from_the_environment(program, server, folder, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    with pytest.raises(SystemExit):
        program.main(["--files", "hub_sequences", "--output_dir", str(folder)])
    assert server.asked == [(f"{HUB}challenge_test_sequences/train-00000-of-00001.parquet", None)]
    assert server.url in capsys.readouterr().err


def test_folders_that_cannot_be_written(refused, folder, server) -> None:
    folder.write_text("a file")
    assert f"--output_dir {folder} cannot be made (File exists): name another folder" in refused("demo")
    folder.unlink()
    folder.mkdir()
    (folder / "public_leaderboard_ids").write_text("a file")
    message = refused("ids")
    assert f"{folder}/public_leaderboard_ids/ground.json: " in message
    assert "name another --output_dir" in message


def test_command_lines_that_are_refused(refused, program, server, folder, capsys) -> None:
    assert "--files labls: no such group, did you mean labels?" in refused("labls")
    assert "--files xyz: no such group, there are demo, plasmid, ids" in refused("xyz")
    assert "--retries -1 --backoff 0: both are at least 0" in refused("demo", flags=("--retries", "-1"))
    with pytest.raises(SystemExit):
        program.main([])
    assert "--output_dir is missing" in capsys.readouterr().err
    assert refused("demo", flags=("--reties", "1")) == (
        "error: unrecognized arguments: --reties 1; --help lists all flags\n"
    )
    assert refused("demo", flags=("--retries", "many")).startswith(
        "error: argument --retries: invalid int value: 'many'"
    )
    assert server.asked == []
    assert not folder.exists()


def test_an_interruption_speaks_of_the_download(program, fetch, folder, monkeypatch, capsys) -> None:
    monkeypatch.setattr(program.Folder, "fetch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(SystemExit) as stopped:
        fetch("demo")
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "interrupted: the same command goes on from there\n"


def test_the_list_names_everything(program, capsys) -> None:
    assert program.main(["--list"]) == {}
    listed = capsys.readouterr().out
    for group, description in program.GROUPS.items():
        assert f"{group}: {description}" in listed or f"{group} (default): {description}" in listed
    for file in program.catalogue():
        assert f"    {file.name}  {file.source}  " in listed
        assert file.sha256 in listed


def test_the_catalogue_is_sound(program) -> None:
    files = program.catalogue()
    assert {file.group for file in files} == set(program.GROUPS)
    assert {file.source for file in files} == set(program.HOMES)
    assert len({file.name for file in files}) == len(files)
    assert all(len(file.sha256) in (0, 64) and set(file.sha256) <= set("0123456789abcdef") for file in files)
    assert sum(file.source == "hub" and len(file.sha256) == 64 for file in files) == 5
    assert len(program.COMMIT) == len(program.REVISION) == 40


def test_test_labels_are_fetched_only_when_they_are_named(program) -> None:
    labels = {file.group for file in program.catalogue() if "MAUDE" in file.name or "/test-0" in file.name}
    assert labels == {"labels", "hub_labels"}
    assert not labels & set(program.DEFAULT_GROUPS)


def test_the_folder_is_what_the_evaluation_reads(program) -> None:
    found = {file.name for file in program.catalogue()}
    assert challenge.TEST_FILE in found
    for subset in (challenge.ALL, *challenge.SUBSETS):
        assert f"public_leaderboard_ids/{subset.public_file}" in found
        assert not subset.tables or {f"test_subset_ids/{name}" for name in subset.tables} & found
