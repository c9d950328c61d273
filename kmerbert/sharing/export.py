"""A model to give away: a folder with what is needed to predict, and nothing else of the run."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedModel

from kmerbert.files import check_folder, read_json, scratch_folder, space_to_write
from kmerbert.models.loading import tokenizer_for
from kmerbert.predicting.ensemble import joint_facts, load_ensemble, output_names
from kmerbert.sharing.card import CardFacts, describe_unit, write_card
from kmerbert.sharing.hub import files_to_push, missing_files
from modeling_kmer_ensemble import KmerEnsembleForSequenceClassification

# Everybody may read the files and look into the folder, whatever the run's folder and the umask allow.
FILE_MODE, FOLDER_MODE = 0o644, 0o755
USAGE = """from transformers import pipeline
predict = pipeline("text-classification", model="REPO", trust_remote_code=True, top_k=None)
predict("TGCATTTTTTTCACATCGGTTACGGCTGTTAACCGGTTAACCGGTTAACC")"""


def export_folder(names: Sequence[str], output: Path, revision: str = "main") -> list[str]:
    """Writes a folder with which anybody can predict; it appears when it is complete.

    The folder of one finished run is copied, without its predictions, checkpoints, logs and Trainer's state. A checkpoint is
    brought to the unit of the labels, and several models become one, their mean.

    Args:
        names: Folders or Hub names of models of run_finetune_regression.py.
        output: The folder to write, new or empty.
        revision: Branch, tag or commit of models on the Hub.

    Returns:
        Names of the files that were written.

    Raises:
        ValueError: The folder is not empty, or a model cannot be used.
    """
    target = Path(os.path.realpath(output))
    check_folder(target, f"`output_dir` {output}")
    if target.is_dir() and any(target.iterdir()):
        raise ValueError(f"`output_dir` {output} is not empty: name a new folder")
    tokenizer, models, _ = load_ensemble(names, revision)
    source = Path(names[0])
    with _whole_folder(target) as folder:
        if len(names) == 1 and _is_finished(source):
            files = files_to_push(source)
            if missing := missing_files(source, files):
                raise ValueError(f"{source} has no file {min(missing)} (a link is not copied)")
            for name in files:
                shutil.copyfile(source / name, folder / name)
            _rename(folder / "README.md", source.resolve().name, target.name)
        else:
            model = models[0] if len(models) == 1 else _joined(models)
            model.save_pretrained(folder)
            tokenizer_for(model, tokenizer).save_pretrained(folder)
            write_card(folder, target.name, _card(model, len(models)), model.config)
        written = sorted(path.name for path in folder.iterdir())
    load_ensemble([str(target)])  # it can be used
    return written


def left_out(source: Path) -> list[str]:
    """Names of what a run's folder contains and an export does not, without hidden files."""
    exported = set(files_to_push(source))
    return sorted(path.name for path in source.iterdir() if path.name not in exported and not path.name.startswith("."))


def _is_finished(folder: Path) -> bool:
    """Whether a folder has a model that answers in the unit of the labels, and its card."""
    config = folder / "config.json"
    is_run = config.is_file() and (folder / "README.md").is_file()
    return is_run and bool(read_json(config).get("outputs_in_label_units"))


def _joined(models: Sequence[PreTrainedModel]) -> PreTrainedModel:
    facts = {
        name: ", ".join(dict.fromkeys(str(getattr(model.config, name, "unknown")) for model in models))
        for name in ("data_name", "data_checksum")
    }
    return KmerEnsembleForSequenceClassification.from_members(models, **facts | joint_facts(models))


def _card(model: PreTrainedModel, n_models: int) -> CardFacts:
    config = model.config
    mean = f" They are the mean of {n_models} models." if n_models > 1 else ""
    unit = getattr(config, "label_unit", None) or ""
    return CardFacts(
        task="text-classification",
        summary=f"Predicts {', '.join(output_names(config))}{f' ({unit})' if unit else ''} from DNA, read as {config.kmer_k}-mers "
        f"(stride {config.kmer_stride}). {describe_unit(getattr(config, 'label_transform', None), unit)}{mean}",
        usage=USAGE,
        metrics={},
        settings={"model": f"{type(model).__name__}, {model.num_parameters() / 1e6:.2f} million parameters"},
    )


def _rename(card: Path, before: str, now: str) -> None:
    """Lets a card's example load the model by the folder's new name."""
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace(f'model="{before}"', f'model="{now}"'), encoding="utf-8")


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes the target when the block has ended well."""
    made = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    for parent in made:
        parent.chmod(FOLDER_MODE)
    with scratch_folder(target.parent) as scratch, space_to_write(target):
        folder = scratch / target.name
        folder.mkdir()
        yield folder
        for path in folder.iterdir():
            path.chmod(FILE_MODE)
        folder.chmod(FOLDER_MODE)
        os.replace(folder, target)
