"""What the challenge's homes hold when they are on this machine, and how its files are named there."""

import hashlib
import io
import json
import random
import tarfile
from pathlib import Path

from tests.support.file_server import Fault

RECORD = "/api/records/10633252"
TRAIN = "/records/10633252/files/train_sequences.txt"
REPOSITORY = "/de-Boer-Lab/random-promoter-dream-challenge-2022/1b40970e8dcddf31d07ccc4604a82afac8f49095/data/"
DEMO = f"{REPOSITORY}demo_train.txt"
HUB = "/datasets/HuggingFaceBio/random-promoter-dream-2022/resolve/095ecf8da1e69d70c21812af809df7b19c7d8a84/"
CONTENT = random.Random(0).randbytes(300_000)
CUT = Fault(cut=150_000)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def record(**files: bytes) -> bytes:
    """The answer of Zenodo's API; a double underscore stands for a point."""
    entries = [
        {"key": name.replace("__", "."), "size": len(content), "checksum": f"md5:{md5(content)}"}
        for name, content in files.items()
    ]
    return json.dumps({"id": 10633252, "files": entries}).encode()


def archive(*members: str | tarfile.TarInfo) -> bytes:
    """A packed archive whose files hold their own names."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for member in members:
            entry = tarfile.TarInfo(member) if isinstance(member, str) else member
            if entry.isfile():
                entry.size = len(entry.name)
            tar.addfile(entry, io.BytesIO(entry.name.encode()))
    return file.getvalue()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
