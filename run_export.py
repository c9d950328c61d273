"""Gives a model away: writes a folder with what a colleague needs to predict, and nothing else of the run.

That is the weights, the configuration, the tokenizer, the code of both, the card and the metrics. Checkpoints, predictions
(which contain your sequences), logs and the Trainer's state stay where they are. Several models become one, their mean.

    python run_export.py --model_name_or_path runs/expression --output_dir expression
    python run_export.py --model_name_or_path runs/seed1,runs/seed2 --output_dir expression_mean
"""

import kmerbert.cli.interruption  # noqa: F401 (Ctrl-C during the imports)

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from kmerbert.cli.flags import ExportArguments, split_names
from kmerbert.cli.launch import set_up_logging
from kmerbert.cli.parser import parse
from kmerbert.cli.run import run
from kmerbert.files import in_bytes
from kmerbert.sharing.export import export_folder, left_out

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the script; returns the number of files and their bytes."""
    (args,) = parse([ExportArguments], argv, __doc__)
    set_up_logging(True)
    names, output = split_names(args.model_name_or_path), Path(args.output_dir)
    files = export_folder(names, output, args.model_revision)
    n_bytes = sum((output / name).stat().st_size for name in files)
    logger.info("%s: %d files, %s: %s", output, len(files), in_bytes(n_bytes), ", ".join(files))
    for name in names:
        if Path(name).is_dir() and (others := left_out(Path(name))):
            logger.info("not needed to predict, and left in %s: %s", name, ", ".join(others))
            if any(other.startswith(("checkpoint-", "fold_")) for other in others):
                logger.info(
                    "its checkpoints and folds are for continuing the run: once it is finished, you may delete them"
                )
    logger.info(
        "config.json has hashes of some training sequences (training_sample), by which anybody can test whether a sequence was "
        "among them"
    )
    logger.info(
        "to predict with it: python run_predict.py --model_name_or_path %s --input_file new.fa --output_file predictions.tsv",
        shlex.quote(str(output)),
    )
    return {"n_files": len(files), "n_bytes": n_bytes}


if __name__ == "__main__":
    run(main, "nothing was written")
