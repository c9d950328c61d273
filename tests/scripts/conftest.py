"""What a user sees of a script that fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmerbert.cli.run import run


@pytest.fixture
def error_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a script's main, which must fail, as its command does: `error_line(main, *argv)` is the line it prints.

    Names of files in the line are relative to the test's folder, so that a part of the folder's name, which is that of the
    test, is not mistaken for a part of the message.
    """

    def read(main: Callable[[list[str]], Any], *argv: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            run(lambda: main([str(argument) for argument in argv]))
        assert stopped.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
        line = lines[-1].replace(f"{tmp_path}/", "").replace(str(tmp_path), ".")
        assert 17 < len(line) < 1000
        return line

    return read
