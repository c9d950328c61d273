"""accelerate launch: N processes compute what one does, a launch that would go wrong fails, messages show flags.

The file is also the program that is launched: the scripts run one after the other in processes that imported once.
"""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from safetensors.torch import load_file

from kmerbert.cli import launch
from kmerbert.cli.launch import FlagFormatter, check_launch, end_with_launcher, set_up_logging, start
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.run import start_run
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import NETWORK, NO_DROPOUT, flags, planted, random_dna, write_table

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ["--config_file", str(ROOT / "accelerate_config.yaml"), "--main_process_port=0", "--mixed_precision=no"]
GLOBAL_BATCH = 16


def train(folder: Path, results: Path, n_processes: int, *more: str) -> None:
    """Runs both training scripts on the files in a folder."""
    import run_finetune_regression
    import run_pretrain_mlm

    settings = {"per_device_train_batch_size": GLOBAL_BATCH // n_processes, "per_device_eval_batch_size": 4}
    settings |= {"num_train_epochs": 2, "logging_steps": 1, "config_overrides": NETWORK + NO_DROPOUT}
    labels = {"label_column": "strength,decay", "validation_file": folder / "validation.tsv"}
    with mock.patch.object(Accelerator, "end_training"):  # the next run needs the same group of processes
        run_finetune_regression.main([*flags(folder / "train.tsv", results / "regression", **settings | labels), *more])
    mlm = {"eval_strategy": "no", "validation_split_percentage": 0}
    run_pretrain_mlm.main([*flags(folder / "dna.txt", results / "mlm", **settings | mlm), *more])
    assert not torch.distributed.is_initialized()  # a process that is still in a group may abort when it exits


def launched(folder: Path) -> None:
    """What every launched process does."""
    n_processes, rank = (int(os.environ[name]) for name in ("WORLD_SIZE", "RANK"))
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"  # as accelerate_config.yaml has it
    try:
        train(folder, folder / f"failed_{n_processes}", n_processes)
    except ValueError as error:
        (folder / f"failed_{n_processes}_{rank}.txt").write_text(str(error))
    os.environ["ACCELERATE_MIXED_PRECISION"] = "no"
    train(folder, folder / str(n_processes), n_processes, "--use_cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the input files, and the results of one process in the folder `1`."""
    folder = tmp_path_factory.mktemp("launch")
    sequences, first = planted(np.random.default_rng(0), 85)
    second = first + np.random.default_rng(1).normal(0, 1, 85)
    second[10:40] = np.nan  # so that processes hold different numbers of labels
    for name, rows in (("train.tsv", slice(64)), ("validation.tsv", slice(64, None))):  # 21: no multiple of anything
        write_table(folder / name, sequence=sequences[rows], strength=first[rows], decay=second[rows])
    (folder / "dna.txt").write_text("\n".join(random_dna(np.random.default_rng(2), 64)))
    train(folder, folder / "1", 1)
    return folder


def log(folder: Path, key: str) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry[key] for entry in history if key in entry]


def test_processes_compute_what_one_does(data: Path) -> None:
    n_processes = 4
    command = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH, f"--num_processes={n_processes}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    launcher = subprocess.Popen(
        [*command, __file__, str(data)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, messages = launcher.communicate(timeout=200)
    finally:
        launcher.terminate()  # unlike a kill, it ends the launched processes, too
    assert launcher.returncode == 0, messages[-3000:]
    for rank in range(n_processes):
        message = (data / f"failed_{n_processes}_{rank}.txt").read_text()
        check_message(message, f"{n_processes} processes", "--use_cpu", "--num_processes 1")
    assert not (data / f"failed_{n_processes}").exists()
    assert re.search(rf"{n_processes} process\(es\) on cpu(:0)?, fp32; 16 sequences a step", messages)
    for run, n_steps in (("regression", 8), ("mlm", 8)):
        one, several = data / "1" / run, data / str(n_processes) / run
        for key in ("loss", "grad_norm"):
            assert len(log(one, key)) == n_steps
            assert log(several, key) == pytest.approx(log(one, key), rel=1e-4), (run, key)
        weights = load_file(several / "model.safetensors")
        for name, weight in load_file(one / "model.safetensors").items():
            torch.testing.assert_close(weights[name], weight, rtol=1e-3, atol=5e-5, msg=f"{run}: {name}")
    one, several = (
        pd.read_csv(data / name / "regression" / "validation_predictions.tsv", sep="\t")
        for name in ("1", str(n_processes))
    )
    assert several[["id", "sequence"]].equals(one[["id", "sequence"]])
    assert len(several) == 21
    for column in one.columns[2:]:
        assert several[column].to_numpy() == pytest.approx(one[column].to_numpy(), abs=1e-3, nan_ok=True)
    for metric in ("eval_pearsonr", "eval_mse_decay"):
        assert log(data / str(n_processes) / "regression", metric) == pytest.approx(
            log(data / "1" / "regression", metric), rel=1e-3
        )


@pytest.mark.parametrize(("n_launched", "n_processes"), [("1", 1), (None, 1), ("3", 3)])
def test_processes_that_know_of_each_other(
    n_launched: str | None, n_processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if n_launched:
        monkeypatch.setenv("WORLD_SIZE", n_launched)
    check_launch(n_processes)


def test_processes_that_do_not_know_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with fails("3 processes", "--use_cpu", "--num_processes 1"):
        check_launch(1)


def test_both_ways_to_start_check_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of scripts without a Trainer, and that of training scripts."""
    arguments = KmerTrainingArguments(output_dir=str(tmp_path / "new"), use_cpu=True)
    assert start(use_cpu=True).num_processes == PartialState().num_processes == arguments.world_size == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with fails("2 processes", "--use_cpu", "--num_processes 1"):
        start(use_cpu=True)
    with fails("2 processes", "--use_cpu", "--num_processes 1"):
        start_run(arguments)
    assert not (tmp_path / "new").exists()


def test_log_lines_show_arguments_as_flags() -> None:
    record = logging.LogRecord("a", logging.INFO, "a.py", 1, "%s: `max_seq_length` %d, or `k`", ("a.tsv", 8), None)
    assert FlagFormatter().format(record) == "a.tsv: --max_seq_length 8, or --k"


@pytest.mark.parametrize("is_main", [True, False])
def test_only_errors_of_other_processes_are_printed(is_main: bool, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(is_main)
    logger = logging.getLogger("kmerbert.somewhere")
    logger.info("give `k`")
    logger.warning("line 1 of %s", "`a.tsv`")
    logger.error("`k` %d", 9)
    logging.getLogger("httpx").info("GET")
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [*(["give --k", "line 1 of `a.tsv`"] if is_main else []), "--k 9"]


FAILING = """
import sys
import torch.distributed as distributed
from kmerbert.cli.run import run

def main():
    distributed.init_process_group("gloo")
    distributed.barrier()
    if sys.argv[1] in (str(distributed.get_rank()), "both"):
        raise ValueError("no such file")
    distributed.barrier()

run(main)
"""


@pytest.mark.parametrize("who_fails", ["0", "1", "both"])
def test_a_mistake_is_printed_once_whoever_finds_it(who_fails: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(FAILING)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = subprocess.run(
        [*command, tmp_path / "program.py", who_fails],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert launch.returncode == 1
    lines = launch.stderr.splitlines()
    assert [line for line in lines if "no such file" in line] == ["error: no such file"]
    ends = {line.split("(pid")[0].strip() for line in lines if line.strip().startswith("exitcode")}
    assert ends <= {"exitcode  : 2", "exitcode  : -15"}, launch.stderr[-3000:]  # -15: ended by the launcher; no -6
    assert "exitcode  : 2" in ends
    assert "RuntimeError" not in launch.stderr  # of the one that waited


def test_a_process_ends_with_its_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "WATCH_SECONDS", 0.01)
    reading, writing = os.pipe()
    if not (launcher := os.fork()):
        if not os.fork():  # the launched process; the pipe closes when it ends
            os.write(writing, b"up")
            launch._watch(os.getppid())
        os.close(writing)
        time.sleep(60)
        os._exit(0)
    os.close(writing)
    assert os.read(reading, 2) == b"up"
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_only_launched_processes_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a launcher, whoever started the program may end before it."""
    end_with_launcher()
    assert launch.WATCH not in {thread.name for thread in threading.enumerate()}
    started = []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setattr(launch, "_watch", started.append)
    end_with_launcher()
    assert started == [os.getppid()]


CONFIGS = {  # processes, machines, kind, precision
    "accelerate_config.yaml": (4, 1, "MULTI_GPU", "bf16"),
    "launch/cpu.yaml": (1, 1, "NO", "no"),
    "launch/one_gpu.yaml": (1, 1, "NO", "bf16"),
    "launch/four_gpus_fsdp.yaml": (4, 1, "FSDP", "bf16"),
    "launch/two_nodes.yaml": (16, 2, "MULTI_GPU", "bf16"),
}


def test_every_config_is_known() -> None:
    names = {str(path.relative_to(ROOT)) for path in (ROOT / "launch").iterdir()}
    assert names | {"accelerate_config.yaml"} == CONFIGS.keys()


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_what_accelerate_reads(name: str) -> None:
    config = load_config_from_file(str(ROOT / name))  # fails for keys that it does not know
    kind = config.distributed_type
    assert (config.num_processes, config.num_machines, kind, config.mixed_precision) == CONFIGS[name]
    assert config.use_cpu == (name == "launch/cpu.yaml")
    script = str(ROOT / "run_finetune_regression.py")
    given = launch_command_parser().parse_args(["--config_file", str(ROOT / name), script])
    arguments, _, mixed_precision_from_file = _validate_launch_command(given)
    assert mixed_precision_from_file
    assert arguments.mixed_precision == CONFIGS[name][3]
    assert arguments.num_processes == CONFIGS[name][0]
    assert arguments.use_fsdp == (kind == "FSDP")
    if kind == "FSDP":
        environment = prepare_multi_gpu_env(arguments)
        assert environment["FSDP_VERSION"] == "2"
        assert environment["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"  # saved as one model
        assert environment["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"


if __name__ == "__main__":
    launched(Path(sys.argv[1]))
