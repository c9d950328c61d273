"""The output folder of a training run: which files are the run's, and that nobody else's are lost."""

import os
import shutil
from pathlib import Path

# What a run writes into its folder; --overwrite_output_dir removes these and nothing else.
RUN_FILES = (
    "checkpoint-*", "runs", "*_results.json", "trainer_state.json", "training_args.bin", "config.json", "model.safetensors",
    "model-*.safetensors", "model.safetensors.index.json", "README.md", "tokenization_kmer.py", "modeling_kmer_regression.py", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "*_predictions.tsv",
)  # fmt: skip
# Some of them stand in every folder of a run; without, files of the same names are somebody else's.
RUN_MARKS = ("checkpoint-*", "trainer_state.json", "training_args.bin")
NOT_PUSHED = ("checkpoint-*", "runs/*", "training_args.bin", "*_predictions.tsv")


def claim_folder(folder: Path, overwrite: bool, checkpoint: str | None) -> None:
    """Makes sure that the folder is there, can be written, and holds nothing that would be lost.

    Args:
        folder: of the run; made where it is missing.
        overwrite: delete an earlier run's files, and nothing else.
        checkpoint: what the run goes on from, which may be in the folder.

    Raises:
        ValueError: for a folder that cannot be written, or holds something and is neither to be overwritten nor resumed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"--output_dir {folder} cannot be written ({error.strerror}): name another folder") from None
    if checkpoint is not None and Path(checkpoint).resolve().parent == folder.resolve():
        return
    if overwrite:
        found = [path for pattern in RUN_FILES for path in folder.glob(pattern)]
        if found and not any(path.match(mark) for path in found for mark in RUN_MARKS):
            raise ValueError(
                f"--overwrite_output_dir: {folder} holds {found[0].name}, but no run ({', '.join(RUN_MARKS)}): nothing was "
                "deleted; name another folder"
            )
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif found := sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")):
        raise ValueError(
            f"--output_dir {folder} is not empty (it holds {', '.join(found[:3])}{', ...' if len(found) > 3 else ''}): name "
            "another folder, go on with --resume_from_checkpoint true, or start anew with --overwrite_output_dir"
        )
