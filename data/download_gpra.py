"""Download the files of the Random Promoter DREAM Challenge 2022 from their public homes, or from a mirror of them.

    python data/download_gpra.py --output_dir gpra
    python data/download_gpra.py --files train ids plasmid --output_dir gpra

The folder then is what `run_evaluate.py --challenge_dir` reads. A download that stops leaves a `.part` file, from which
the same command goes on; a file takes its name only when it is whole and its checksum fits. pooch compares checksums,
refuses to replace and moves into place; it cannot resume, so it is handed the downloader `Transfer`.

Where the facts come from: the names in Zenodo record 10633252 from public programs that read them, so the record's own
list (name, size, md5) is read at run time and decides; revision and SHA-256 of the Hub's shards from a public program
that pins them; sizes and SHA-256 of plasmid and leaderboard files computed from public copies of the repository at a
commit that has its `data/` folder. No checksum of `test_subset_ids/` and `demo_train.txt` is public: their
SHA-256 is taken at the first download, written to `SHA256SUMS`, and checked from then on.
"""

import argparse
import difflib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pooch
import requests
from transfer import Transfer, TransferError, ask, new_session, read_sums, refusal, unpack, write_sums

RECORD, HUB_REPOSITORY = "10633252", "HuggingFaceBio/random-promoter-dream-2022"
REVISION, COMMIT = "095ecf8da1e69d70c21812af809df7b19c7d8a84", "1b40970e8dcddf31d07ccc4604a82afac8f49095"
HOMES = {  # where a source is, and where a file is there
    "zenodo": ("https://zenodo.org", f"/records/{RECORD}/files/{{}}?download=1"),
    "hub": ("https://huggingface.co", f"/datasets/{HUB_REPOSITORY}/resolve/{REVISION}/{{}}"),
    "repository": (
        "https://raw.githubusercontent.com",
        f"/de-Boer-Lab/random-promoter-dream-challenge-2022/{COMMIT}/data/{{}}",
    ),
}
GROUPS = {
    "demo": "6,370 rows of the training file, to try things on",
    "plasmid": "the reporter plasmid, with 80 N for the insert",
    "ids": "rows of the test subsets, and the 9,045 rows of the public leaderboard with their values",
    "archives": "the same ids as Zenodo has them, unpacked",
    "train": "6,739,258 promoters and their expression, 0 to 17",
    "split": "the training rows in two parts, 90 and 10 %",
    "labels": "the test promoters with their labels: for one final score, never to choose a model by",
    "hub_train": "the larger part of the training rows, as Parquet",
    "hub_validation": "the smaller part of the training rows, as Parquet",
    "hub_sequences": "the test promoters without labels, as Parquet",
    "hub_labels": "the test promoters with their labels, as Parquet: as for labels",
}
DEFAULT_GROUPS = ["demo", "plasmid", "ids"]  # small, and all that the public score needs
# Group, source and folder; below, the files in it: name, bytes and SHA-256 where they are known.
CATALOGUE = """
demo repository
    demo_train.txt
plasmid repository
    plasmid.json 8296 e1444cace7908c314be020e79c7790558f3947c3c932fd0c02136df14df59113
ids repository public_leaderboard_ids/
    ground.json 252964 c2980b4879fd86ba97885ab3cb8843f62a42820ff7ad34b2e0546cfed17f584e
    sample_submission.json 265699 b48e2962f7cbe633339eee526beb473c2123edbea1b03968035db4df67ea8eb4
    high_exp_indices.json 2574 55fc35e976866c66756663ef025a82d705cf31fa5776f47fc2af076572d051d9
    low_exp_indices.json 2770 41e0a632819d2df50e22a65c803c10bdfb612c9a39ff1b16e717e9206ea32ea2
    yeast_exp_indices.json 5837 83f1f62ec6fb3f5f7ab427cd48259c3f7d0e4bed629a83edc05f226384295162
    random_exp_indices.json 20701 8f3d16a799454ca1e7a40e7041d07c63818041eb1dab089c79885d3a621d3084
    challenging_exp_indices.json 5409 57fea77662a5eb45a2e4e734cacc7dea509f4e23ddbe20d4b8c70c44ad578d97
    SNVs_exp_indices.json 256491 d9c05e424283d904f7f7fddc42c47bd908f96ce2cd944dad7dd98b8c61720ff1
    motif_perturbation_exp_indices.json 18346 14075add0dd9edef8cb986bb9bb522de5051125c1d7d8c3895ffb9dc42cc060e
    motif_tiling_exp_indices.json 14639 5b018298681f9dc431e18318f69f8da15972bd80131a7d72a9bed43bd1efdc1e
ids repository test_subset_ids/
    high_exp_seqs.csv
    low_exp_seqs.csv
    yeast_seqs.csv
    all_random_seqs.csv
    challenging_seqs.csv
    all_SNVs_seqs.csv
    motif_perturbation_seqs.csv
    motif_tiling_seqs.csv
archives zenodo
    public_leaderboard_ids.tar.gz
    test_subset_ids.tar.gz
train zenodo
    train_sequences.txt
split zenodo
    train.txt
    val.txt
labels zenodo
    filtered_test_data_with_MAUDE_expression.txt
hub_train hub supervised/
    train-00000-of-00002.parquet 0 00b6cdfe2511f8ed4769c56fb10734e64ad1d9ec6d127ff0af02d7375d6bbea9
    train-00001-of-00002.parquet 0 8c5e3fe6697b3ec282193e2a617eaf489e8f9a8a925388c457f4310f2fbecca8
hub_validation hub supervised/
    validation-00000-of-00001.parquet 0 a4a7c321d9d392bc55aeedf959973d4136a336da90ff366ec7436af0e41d8505
hub_sequences hub challenge_test_sequences/
    train-00000-of-00001.parquet 0 aaf39b1050fb18e7b57cc7f82534db4860a52d2ff9cb7c2869da158c41b7a901
hub_labels hub supervised/
    test-00000-of-00001.parquet 0 9d89aac2e8b9dd64ff2ef09644efcc475ff68dec4f7952ccb23328bcf5566695
"""
SUMS = "SHA256SUMS"


class File(NamedTuple):
    """A file of the catalogue: its name is its path at the source and here; size 0 and no SHA-256 mean unknown."""

    group: str
    source: str
    name: str
    size: int = 0
    sha256: str = ""


def catalogue() -> list[File]:
    """Returns every file that there is, in the order of fetching."""
    files = []
    for line in CATALOGUE.strip().splitlines():
        words = line.split()
        if not line.startswith(" "):
            group, source, folder = [*words, ""][:3]
        else:
            files.append(File(group, source, folder + words[0], int([*words, 0][1]), [*words, 0, ""][2]))
    return files


class Folder:
    """The output folder of one call, filled from the sources or their mirrors.

    Raises:
        ValueError: where the folder cannot be made, or its `SHA256SUMS` cannot be read.
    """

    def __init__(self, path: Path, urls: dict[str, str], overwrite: bool, retries: int, backoff: float) -> None:
        self.path, self.urls, self.overwrite = path, urls, overwrite
        self.retries, self.backoff = retries, backoff
        self.session = new_session(retries, backoff)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"--output_dir {path} cannot be made ({error.strerror}): name another folder") from None
        self.sums = read_sums(path / SUMS)

    @cached_property
    def record(self) -> dict[str, tuple[int, str]]:
        """Name -> size and `md5:...` of the files of the Zenodo record; empty where a mirror has files only."""
        url = f"{self.urls['zenodo']}/api/records/{RECORD}"
        with ask(self.session, url) as answer:
            if answer.status_code == 404:
                return {}
            if answer.status_code != 200:
                raise refusal(answer)
            try:
                return {file["key"]: (int(file["size"]), file["checksum"]) for file in answer.json()["files"]}
            except (ValueError, KeyError, TypeError, requests.RequestException):
                raise TransferError(f"{url}: the answer lists no files with size and checksum") from None

    def expected(self, file: File) -> tuple[int, str | None, str]:
        """Returns bytes (0: unknown) and checksum (`algorithm:digits`, None: unknown) of a file, and who says so."""
        if file.sha256:
            return file.size, f"sha256:{file.sha256}", "checksum as pinned"
        if file.name in self.sums:
            return file.size, f"sha256:{self.sums[file.name]}", f"checksum as in {SUMS}"
        if file.source == "zenodo" and self.record:
            if file.name not in self.record:
                raise ValueError(f"Zenodo record {RECORD} has no {file.name}, but {', '.join(sorted(self.record))}")
            return *self.record[file.name], f"checksum as in Zenodo record {RECORD}"
        return file.size, None, f"checksum not public: what came is now noted in {SUMS} and checked from then on"

    def fetch(self, file: File) -> None:
        """Downloads a file unless it is there, unpacks an archive, and notes every SHA-256.

        Raises:
            ValueError: where it cannot be had, has not the bytes that it should have, or another file has its name.
        """
        path = self.path / file.name
        there = path.exists()
        try:
            size, known, reason = self.expected(file)
            if there and known is None:
                raise ValueError(f"{path} is there, and nothing says whether it is the right file: move it away")
            self._fetch(file, size, known)
        except TransferError as error:
            raise ValueError(f"{error}: {error.advice} name a mirror with --{file.source}_url") from None
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror or error}: mend that, or name another --output_dir") from None
        try:
            sums = self._unpack(path) if path.name.endswith(".tar.gz") else {}
        except ValueError:
            if known is None:  # it may be a part of the archive only, which no later call would find out
                path.unlink()
            raise
        self.note(sums | {file.name: pooch.file_hash(str(path))})
        print(f"{path}: {path.stat().st_size:,} bytes, {reason}")

    def _fetch(self, file: File, size: int, known: str | None) -> None:
        """Lets pooch compare, download and rename; both of its refusals are a ValueError."""
        path = self.path / file.name
        url = self.urls[file.source] + HOMES[file.source][1].format(file.name)
        part = path.with_name(f"{path.name}.part")
        transfer = Transfer(self.session, part, size, known is not None, self.retries, self.backoff)
        there = path.exists()
        shelf = pooch.Pooch(self.path, "", {file.name: known}, {file.name: url}, allow_updates=self.overwrite)
        try:
            shelf.fetch(file.name, downloader=transfer)
        except ValueError as error:
            if there and not self.overwrite:
                found = pooch.file_hash(str(path), known.partition(":")[0])
                message = f"{path} is there with checksum {found} instead of {known}: add --overwrite to replace it"
            else:
                advice = f", or delete its line in {SUMS}" if file.name in self.sums else ""
                found = str(error).partition(" Deleted")[0]  # without what pooch did and guesses
                message = f"{url}: wrong bytes: {found} Run the same command again{advice}"
            raise ValueError(message) from None

    def note(self, sums: dict[str, str]) -> None:
        """Writes what is new among checksums into `SHA256SUMS`."""
        if not sums.items() <= self.sums.items():
            self.sums |= sums
            write_sums(self.path / SUMS, self.sums)

    def _unpack(self, archive: Path) -> dict[str, str]:
        """Unpacks `NAME.tar.gz` into the folder NAME beside it; returns the SHA-256 of every file in it."""
        folder = archive.with_name(archive.name.removesuffix(".tar.gz"))
        names = unpack(archive, folder, self.overwrite)
        return {f"{folder.name}/{name}": pooch.file_hash(str(folder / name)) for name in names}


def listing() -> str:
    """Returns what there is: groups, and their files with source, bytes and SHA-256 as far as they are known."""
    lines = []
    for group, description in GROUPS.items():
        lines.append(f"{group}{' (default)' if group in DEFAULT_GROUPS else ''}: {description}")
        for file in catalogue():
            if file.group == group:
                unknown = "size and md5 in the record" if file.source == "zenodo" else "checksum not public"
                size = f"{file.size:,} bytes" if file.size else ""
                known = " ".join(filter(None, (size, file.sha256 and f"sha256 {file.sha256}"))) or unknown
                lines.append(f"    {file.name}  {file.source}  {known}")
    return "\n".join(lines)


def new_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description="Download the Random Promoter DREAM Challenge 2022 files.")
    parser.error = lambda message: parser.exit(2, f"error: {message}; --help lists all flags\n")
    add = parser.add_argument
    add("--output_dir", type=Path, help="folder for the files, made where it is missing")
    groups = f"what to fetch: {', '.join(GROUPS)} (default {' '.join(DEFAULT_GROUPS)}; --list explains)"
    add("--files", nargs="+", default=DEFAULT_GROUPS, metavar="GROUP", help=groups)
    add("--list", action="store_true", help="print groups and files with what is known of them, and fetch nothing")
    add("--overwrite", action="store_true", help="replace files that are there with another checksum")
    for source, (home, path) in HOMES.items():
        default = (os.environ.get("HF_ENDPOINT") or home) if source == "hub" else home
        mirror = f"mirror with the same paths ({path.replace('{}', 'FILE')}); default {default}"
        add(f"--{source}_url", metavar="URL", default=default, help=mirror)
    add("--retries", type=int, default=5, help="failures in a row after which to give up (default 5)")
    add("--backoff", type=float, default=1.0, help="seconds to wait after a failure, doubled each time (default 1)")
    return parser


def check(args: argparse.Namespace) -> None:
    """Refuses a command line that names no folder, a group that there is not, or a negative number."""
    for group in args.files:
        if group not in GROUPS:
            near = difflib.get_close_matches(group, GROUPS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(GROUPS)}"
            raise ValueError(f"--files {group}: no such group, {hint}")
    if args.output_dir is None:
        raise ValueError("--output_dir is missing: name a folder for the files, or add --list to see what there is")
    if args.retries < 0 or args.backoff < 0:
        raise ValueError(f"--retries {args.retries} --backoff {args.backoff:g}: both are at least 0")


def main(argv: Sequence[str] | None = None) -> dict[str, str]:
    """Fetch the files that the command line asks for and return name -> SHA-256 of all that the folder has."""
    parser = new_parser()
    args = parser.parse_args(argv)
    if args.list:
        print(listing())
        return {}
    try:
        check(args)
        pooch.get_logger().setLevel("WARNING")
        urls = {source: getattr(args, f"{source}_url").rstrip("/") for source in HOMES}
        folder = Folder(args.output_dir, urls, args.overwrite, args.retries, args.backoff)
        for file in catalogue():
            if file.group in args.files:
                folder.fetch(file)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {' '.join(str(error).split())}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted: the same command goes on from there\n")
    return folder.sums


if __name__ == "__main__":
    main()
