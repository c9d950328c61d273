"""Download the files of the Random Promoter DREAM Challenge 2022 into the folder that `run_evaluate.py` reads.

    python data/download_gpra.py --output_dir gpra
    python data/download_gpra.py --files train ids plasmid --output_dir gpra

pooch downloads to a folder of its own and compares the checksum; only then is the file moved to its place. A checksum is
the SHA-256 below, else that in the folder's `SHA256SUMS`, else the md5 in the Zenodo record. A file without any gets its
SHA-256 at the first download. The record is read here because pooch reads records from zenodo.org only, never from a mirror.
"""

import argparse
import difflib
import json
import os
import re
import shutil
import sys
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import huggingface_hub
import pooch
import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a program, it finds only its own folder
from kmerbert.cli.programs import ProgramParser
from kmerbert.cli.run import run
from kmerbert.files import scratch_folder, write_text

RECORD, DATASET = "10633252", "HuggingFaceBio/random-promoter-dream-2022"
REVISION, COMMIT = "095ecf8da1e69d70c21812af809df7b19c7d8a84", "1b40970e8dcddf31d07ccc4604a82afac8f49095"
REPOSITORY = "/de-Boer-Lab/random-promoter-dream-challenge-2022"
SOURCES = {  # address, and the path of a file there
    "zenodo": ("https://zenodo.org", f"/records/{RECORD}/files/{{}}?download=1"),
    "repository": ("https://raw.githubusercontent.com", f"{REPOSITORY}/{COMMIT}/data/{{}}"),
    "hub": ("https://huggingface.co", f"/datasets/{DATASET}/resolve/{REVISION}/{{}}"),
}
# Zenodo has rejected the User-Agent of requests. With Content-Encoding, an archive would arrive decompressed.
HEADERS = {"User-Agent": "download_gpra.py (pooch)", "Accept-Encoding": "identity"}
SUMS = "SHA256SUMS"
DEFAULT_GROUPS = ["demo", "plasmid", "ids"]  # small, and all that the public score needs
# Group, source and description; below, its files, each with its SHA-256 if there are public copies to compute it from.
CATALOGUE = """
demo repository 6,370 rows of the training file, to try things on
    demo_train.txt
plasmid repository the reporter plasmid, with 80 N for the insert
    plasmid.json e1444cace7908c314be020e79c7790558f3947c3c932fd0c02136df14df59113
ids repository rows of the test subsets, and the 9,045 rows of the public leaderboard with their values
    public_leaderboard_ids/
    ground.json c2980b4879fd86ba97885ab3cb8843f62a42820ff7ad34b2e0546cfed17f584e
    sample_submission.json b48e2962f7cbe633339eee526beb473c2123edbea1b03968035db4df67ea8eb4
    high_exp_indices.json 55fc35e976866c66756663ef025a82d705cf31fa5776f47fc2af076572d051d9
    low_exp_indices.json 41e0a632819d2df50e22a65c803c10bdfb612c9a39ff1b16e717e9206ea32ea2
    yeast_exp_indices.json 83f1f62ec6fb3f5f7ab427cd48259c3f7d0e4bed629a83edc05f226384295162
    random_exp_indices.json 8f3d16a799454ca1e7a40e7041d07c63818041eb1dab089c79885d3a621d3084
    challenging_exp_indices.json 57fea77662a5eb45a2e4e734cacc7dea509f4e23ddbe20d4b8c70c44ad578d97
    SNVs_exp_indices.json d9c05e424283d904f7f7fddc42c47bd908f96ce2cd944dad7dd98b8c61720ff1
    motif_perturbation_exp_indices.json 14075add0dd9edef8cb986bb9bb522de5051125c1d7d8c3895ffb9dc42cc060e
    motif_tiling_exp_indices.json 5b018298681f9dc431e18318f69f8da15972bd80131a7d72a9bed43bd1efdc1e
    test_subset_ids/
    high_exp_seqs.csv low_exp_seqs.csv yeast_seqs.csv all_random_seqs.csv challenging_seqs.csv
    all_SNVs_seqs.csv motif_perturbation_seqs.csv motif_tiling_seqs.csv
archives zenodo the same ids as Zenodo has them, unpacked
    public_leaderboard_ids.tar.gz test_subset_ids.tar.gz
train zenodo 6,739,258 promoters and their expression, 0 to 17
    train_sequences.txt
split zenodo the training rows in two parts, 90 and 10 %
    train.txt val.txt
labels zenodo the test promoters with their labels: for one final score, never to choose a model by
    filtered_test_data_with_MAUDE_expression.txt
hub_train hub the larger part of the training rows, as Parquet
    supervised/
    train-00000-of-00002.parquet 00b6cdfe2511f8ed4769c56fb10734e64ad1d9ec6d127ff0af02d7375d6bbea9
    train-00001-of-00002.parquet 8c5e3fe6697b3ec282193e2a617eaf489e8f9a8a925388c457f4310f2fbecca8
hub_validation hub the smaller part of the training rows, as Parquet
    supervised/
    validation-00000-of-00001.parquet a4a7c321d9d392bc55aeedf959973d4136a336da90ff366ec7436af0e41d8505
hub_sequences hub the test promoters without labels, as Parquet
    challenge_test_sequences/
    train-00000-of-00001.parquet aaf39b1050fb18e7b57cc7f82534db4860a52d2ff9cb7c2869da158c41b7a901
hub_labels hub the test promoters with their labels, as Parquet: as for labels
    supervised/
    test-00000-of-00001.parquet 9d89aac2e8b9dd64ff2ef09644efcc475ff68dec4f7952ccb23328bcf5566695
"""


def parse_catalogue(text: str) -> dict[str, tuple[str, str, dict[str, str | None]]]:
    """Return group -> source, description, and its files: path at the source and here -> SHA-256 if known."""
    groups = {}
    for header, body in re.findall(r"^(\S.*)\n((?:    .*\n)+)", text, re.MULTILINE):
        name, source, description = header.split(maxsplit=2)
        folder, files = "", {}
        for token, sha256 in re.findall(r"(\S+)(?: ([0-9a-f]{64}))?", body):
            if token.endswith("/"):
                folder = token
            else:
                files[folder + token] = sha256 or None
        groups[name] = source, description, files
    return groups


GROUPS = parse_catalogue(CATALOGUE)


def download_from_web(url: str, output_file: str, manager: pooch.Pooch) -> None:
    """Write the file at `url` to `output_file`, for pooch to check and rename."""
    os.remove(output_file)  # pooch created it with mode 600; a new file follows the umask
    print(f"downloading {url}", flush=True)
    bar = sys.stderr.isatty()
    pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 20, headers=HEADERS)(url, output_file, manager)
    with open(output_file, "rb") as file:
        if file.read(64).lstrip().startswith((b"<", b"version https://git-lfs")):
            raise ValueError("the server sent a web page or a Git LFS pointer instead of the file")


def download_from_hub(url: str, output_file: str, _: pooch.Pooch) -> None:
    """Write the file at `url`, on the Hub or a mirror of it, to `output_file`, for pooch to check and rename."""
    print(f"downloading {url}", flush=True)
    endpoint, name = url.split(SOURCES["hub"][1].format(""))
    origin = {"repo_id": DATASET, "repo_type": "dataset", "revision": REVISION, "endpoint": endpoint, "token": False}
    with TemporaryDirectory(prefix=".hub-", dir=os.path.dirname(output_file)) as folder:
        try:
            path = huggingface_hub.hf_hub_download(filename=name, local_dir=folder, **origin)
        except Exception as error:  # an OSError, or one of an HTTP client whose name depends on the release
            raise ValueError(error.__cause__ or error) from error
        shutil.move(path, output_file)


def fetch(url: str, path: Path, checksum: str | None, source: str, args: argparse.Namespace) -> None:
    """Download `url`, unless `path` exists with that checksum: `md5:...`, or the digits of a SHA-256.

    Raises:
        ValueError: the download failed, its checksum differs, or another file has this name.
    """
    if path.exists():
        if checksum is None:
            raise ValueError(f"{path} exists, and no checksum is known to compare it with: move it away")
        algorithm, _, known = checksum.rpartition(":")
        if (actual := pooch.file_hash(path, algorithm or "sha256")) == known:
            return
        if not args.overwrite:
            raise ValueError(f"{path} has checksum {actual} instead of {checksum}: add --overwrite to replace it")
    retries = 0 if source == "hub" else args.retries  # the Hub's client repeats requests by itself
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path.parent) as scratch:
        manager = pooch.Pooch(scratch, "", {path.name: checksum}, {path.name: url}, retries)
        try:
            manager.fetch(path.name, downloader=download_from_hub if source == "hub" else download_from_web)
        except (ValueError, requests.RequestException) as error:
            reason = error if url in str(error) else f"{url}: {error}"
            raise ValueError(f"{reason}; run the same command again, or name a mirror with --{source}_url") from error
        os.replace(scratch / path.name, path)


def zenodo_checksums(args: argparse.Namespace, names: Sequence[str]) -> dict[str, str]:
    """Return the checksums (`md5:...`) of the named files in the Zenodo record."""
    url = f"{args.zenodo_url.rstrip('/')}/api/records/{RECORD}"
    with TemporaryDirectory() as folder:
        path = Path(folder, "record.json")
        fetch(url, path, None, "zenodo", args)
        try:
            record = {file["key"]: file["checksum"] for file in json.loads(path.read_bytes())["files"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(f"{url} lists no files with checksums; name a mirror with --zenodo_url") from None
    for name in names:
        if name not in record:
            raise ValueError(f"{url} has no {name}, only {', '.join(sorted(record))}; choose other --files")
    return {name: record[name] for name in names}


def unpack(archive: Path, overwrite: bool) -> list[Path]:
    """Unpack the files of `NAME.tar.gz` into the folder NAME next to it, whatever subfolders they are in.

    Raises:
        ValueError: the archive is damaged, has a path outside, or differs from a file that exists; nothing has changed.
    """
    target = archive.with_name(archive.name.removesuffix(".tar.gz"))
    with scratch_folder(archive.parent) as folder:
        try:
            with tarfile.open(archive) as tar:
                check_members(tar)
                # Before Python 3.11.4 there is no filter, and the check above is all.
                tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        except (tarfile.TarError, EOFError, zlib.error, OSError, KeyError) as error:  # KeyError: a link to no member
            raise ValueError(f"{archive} cannot be unpacked ({error}): delete it and download it again") from None
        members = [path for path in folder.rglob("[!.]*") if path.is_file() and not path.is_symlink()]
        if len({member.name for member in members}) < len(members):
            raise ValueError(f"{archive} has two files of one name in its folders: nothing was unpacked")
        for member in members:
            old = target / member.name
            if old.exists() and not overwrite and pooch.file_hash(old) != pooch.file_hash(member):
                raise ValueError(f"{old} differs from the file in {archive}: add --overwrite to replace it")
        target.mkdir(exist_ok=True)
        return [member.replace(target / member.name) for member in members]


def check_members(tar: tarfile.TarFile) -> None:
    """Raises TarError unless all that is in an archive, links too, stays in the folder that it is unpacked into."""
    for member in tar:
        for path in map(PurePosixPath, (member.name, member.linkname)):
            if path.is_absolute() or ".." in path.parts or member.isdev():
                raise tarfile.TarError(f"{member.name} leads out of the folder")


def read_sums(path: Path) -> dict[str, str]:
    """Return name -> SHA-256 from a file in the format of `sha256sum`; empty if there is no such file."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    for line in lines:
        if not re.fullmatch(r"[0-9a-f]{64} [ *][^\ufffd]+", line):
            raise ValueError(f"{path} has a line that is no SHA-256 and file name, {line[:40]!r}: delete the line")
    return {line[66:]: line[:64] for line in lines}


def download(args: argparse.Namespace) -> None:
    """Download and unpack the files of `args.files`, and write the SHA-256 of each to `SHA256SUMS`."""
    args.output_dir.mkdir(parents=True, exist_ok=True)
    sums = read_sums(args.output_dir / SUMS)
    files = [(GROUPS[group][0], *file) for group in GROUPS if group in args.files for file in GROUPS[group][2].items()]
    checksums = {name: pinned or sums.get(name) for _, name, pinned in files}
    unknown = [name for source, name, _ in files if source == "zenodo" and checksums[name] is None]
    if unknown:
        checksums |= zenodo_checksums(args, unknown)
    for source, name, _ in files:
        path, checksum = args.output_dir / name, checksums[name]
        url = getattr(args, f"{source}_url").rstrip("/") + SOURCES[source][1].format(name)
        fetch(url, path, checksum, source, args)
        for new in [path, *(unpack(path, args.overwrite) if path.suffix == ".gz" else [])]:
            sums[new.relative_to(args.output_dir).as_posix()] = pooch.file_hash(new)
        write_text(args.output_dir / SUMS, "".join(f"{sums[key]}  {key}\n" for key in sorted(sums)))
        print(f"{path}: {path.stat().st_size:,} bytes, {checksum or f'no public checksum, now in {SUMS}'}")


def group_name(name: str) -> str:
    """Return a value of `--files` if it is the name of a group."""
    if name not in GROUPS:
        hint = "".join(f"did you mean {match}? " for match in difflib.get_close_matches(name, GROUPS, 1))
        raise argparse.ArgumentTypeError(f"{name} is no group; {hint}allowed are {', '.join(GROUPS)}")
    return name


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = ProgramParser("Download the files of the Random Promoter DREAM Challenge 2022.")
    add = parser.add_argument
    add("--output_dir", help="folder for the files, created if missing")
    groups = f"groups to download: {', '.join(GROUPS)} (default {' '.join(DEFAULT_GROUPS)}; --list explains them)"
    add("--files", nargs="+", type=group_name, default=DEFAULT_GROUPS, metavar="GROUP", help=groups)
    add("--list", action="store_true", help="print groups, files and SHA-256, and download nothing")
    add("--overwrite", action="store_true", help="replace files that exist with another checksum")
    for source, (address, path) in SOURCES.items():
        default = (os.environ.get("HF_ENDPOINT") or address) if source == "hub" else address
        text = f"where {path.format('FILE').partition('?')[0]} is; default {default}"
        add(f"--{source}_url", metavar="URL", default=default, help=text)
    add("--retries", type=int, default=3, help="further attempts after a failed download (default 3)")
    args = parser.parse_args(argv)
    if args.list:
        for group, (source, description, files) in GROUPS.items():
            print(f"{group}{' (default)' if group in DEFAULT_GROUPS else ''}: {description}")
            for name, sha256 in files.items():
                print(f"    {name}  {source}  {sha256 or ''}".rstrip())
        return
    if args.output_dir is None:
        parser.error("--output_dir is missing: name a folder, or add --list to see the groups")
    if args.retries < 0:
        parser.error(f"--retries {args.retries}: allowed are 0 and more")
    args.output_dir = Path(args.output_dir)
    pooch.get_logger().setLevel("WARNING")
    huggingface_hub.logging.set_verbosity_error()
    try:
        download(args)
    except OSError as error:
        file = error.filename or args.output_dir
        raise ValueError(f"{file}: {error.strerror or error}: correct this, or change --output_dir") from error
    except KeyboardInterrupt:
        parser.exit(130, "interrupted: complete files are kept, the same command downloads the rest\n")


if __name__ == "__main__":
    run(main)
