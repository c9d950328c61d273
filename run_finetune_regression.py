"""Fits a measured number (gene expression from a promoter) to DNA, from a pretrained checkpoint or from scratch.

Reads a table of sequences and one or several measured values (TSV, CSV, Excel, JSON lines, Parquet, Hub datasets).
Writes to --output_dir the model, which answers in the values' own unit, its tokenizer, card, metrics and verdict,
predictions of the held-out rows, and report.html.

    python run_finetune_regression.py --train_file promoters.tsv --output_dir runs/expression
    accelerate launch --config_file accelerate_config.yaml run_finetune_regression.py --model_name_or_path runs/mlm \\
        --train_file promoters.tsv --test_file test.tsv --num_train_epochs 10 --output_dir runs/expression
    python run_finetune_regression.py --train_file promoters.tsv --folds 5 --output_dir runs/cross_validation

The first takes the network and settings of recipes/best, or for fewer than 2,000 rows recipes/small, not the defaults below.
The last trains a model for each fold: their mean is the result, cross_validation.json its r.
"""

import kmerbert.cli.interruption  # noqa: F401 (Ctrl-C during the imports)

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from accelerate import PartialState
from transformers import AutoModelForSequenceClassification, EvalPrediction, PretrainedConfig

from kmerbert.cli.flags import RegressionDataArguments, RegressionModelArguments
from kmerbert.cli.parser import names_any, parse
from kmerbert.cli.run import command_line, run
from kmerbert.models.loading import has_settings, load_config, load_model, load_tokenizer, max_tokens, tokenizer_for
from kmerbert.models.outputs import output_layer, rescale_outputs
from kmerbert.predicting.intervals import with_intervals
from kmerbert.predicting.table import read_predictions
from kmerbert.predicting.writers import write_predictions
from kmerbert.reading.labels import LabelTransform
from kmerbert.reading.training_range import TrainingRange
from kmerbert.reading.training_sample import TrainingSample
from kmerbert.scoring.baselines import NAMES
from kmerbert.scoring.metrics import REGRESSION_METRICS, prediction_spread, regression_metrics, warn_if_collapsed
from kmerbert.sharing.card import CardFacts, code_version, describe_settings, describe_unit, select_metrics, write_card
from kmerbert.sharing.hub import open_repository, publish, push_folder
from kmerbert.sharing.report import REPORT_FILE, TRAINING_ROWS, Fold, ReportFacts, write_report
from kmerbert.tokens.batches import TrainingRows, collate, read_names
from kmerbert.tokens.targets import TargetScaler
from kmerbert.training.callbacks import make_callbacks
from kmerbert.training.flags import RegressionArguments
from kmerbert.training.folder import RunFolder
from kmerbert.training.folds import describe_folds, join_folds
from kmerbert.training.judging import Verdict, by_baseline, find_ceiling, judge, write_baselines
from kmerbert.training.linear_term import add_linear_term
from kmerbert.training.losses import regression_loss
from kmerbert.training.run import (
    finish_fold,
    flatten,
    plan_evaluations,
    report,
    run_facts,
    save_run,
    saved_step,
    start_fold,
    start_run,
    train,
)
from kmerbert.training.splits import check_checkpoint, load_flanks, load_splits, read_fold_names, settle_columns
from kmerbert.training.trainer import RunTrainer
from modeling_kmer_regression import KmerBertConfig
from tokenization_kmer import KmerTokenizer

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parent
# What a command line without a recipe, a checkpoint and a network takes, and below how many training rows the second.
DEFAULT_RECIPE = ROOT / "recipes" / "best" / "finetune_regression.yaml"
SMALL_RECIPE = ROOT / "recipes" / "small" / "finetune_regression.yaml"
FEW_ROWS = 2_000
# In what the recipes differ. If the command line says how long to train, nothing of it is taken from the second.
LENGTH = (
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
)
RHYTHM = ("eval_strategy", "eval_steps", "save_strategy", "save_steps")
NEXT_COMMAND = "python run_predict.py --model_name_or_path {} --input_file new.fa --output_file new.tsv"
USAGE = """from transformers import pipeline
predict = pipeline("text-classification", model="REPO", trust_remote_code=True)
predict("TGCATTTTTTTCACATCGGTTACGGCTGTTAACCGGTTAACCGGTTAACC")"""


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the script; returns the final metrics of every split."""
    groups = (RegressionDataArguments, RegressionModelArguments, RegressionArguments)
    takes_default = not names_any(argv, ("config", "model_name_or_path", "model_type"))
    data_args, model_args, training_args = parse(groups, argv, __doc__, DEFAULT_RECIPE if takes_default else None)
    means_bert = takes_default and asks_for_bert(model_args)
    few_rows_args = None
    if takes_default and not (means_bert or data_args.streaming or names_any(argv, LENGTH)):
        few_rows_args = parse(groups, argv, __doc__, SMALL_RECIPE)[-1]
    if means_bert:
        data_args, model_args, training_args = parse(groups, [*(argv or sys.argv[1:]), "--model_type=bert"], __doc__)
    remark = settle_columns(data_args)

    with start_run(training_args, model_args, data_args) as folder:
        if means_bert:
            logger.info("`model_type` bert, because only a BERT has such settings: give `model_type` to choose another")
        elif takes_default:
            logger.info(
                "network and settings are those of recipes/best (convolutions over 6-mers, the most accurate on measured "
                "promoters): for others give `config`, `model_type` or `model_name_or_path`"
            )
        elif not names_any(argv, ("config", "model_name_or_path")) and model_args.model_type == "kmer_conv":
            logger.info(
                "`model_type` kmer_conv with the settings of --help: leave it out, or give `config`, for those of recipes/best"
            )
        if remark:
            logger.info("%s", remark)
        command = command_line(Path(__file__).name, argv)
        if data_args.cross_validates:
            return cross_validate(data_args, model_args, training_args, folder, command, few_rows_args)
        read = read_rows(data_args, model_args, training_args, folder)
        suit_few_rows(training_args, few_rows_args, len(read.splits["train"]))
        trainer, card, metrics = fit(read, data_args, model_args, training_args, folder, command)
        publish(trainer, card)
        return flatten(metrics)


def asks_for_bert(model_args: RegressionModelArguments) -> bool:
    """Tells whether the flags set what a BERT has and the convolutions have not, without naming either."""
    overrides = model_args.config_overrides
    is_for_bert = overrides and not has_settings("kmer_conv", overrides) and has_settings("bert", overrides)
    return bool(model_args.reading_frames or is_for_bert)


class Read(NamedTuple):
    """What a training reads: rows by their split, how they became tokens, and the settings of the network that reads them."""

    splits: dict[str, TrainingRows]
    tokenizer: KmerTokenizer
    config: PretrainedConfig

    @property
    def both_strands(self) -> bool:
        """Whether the network reads both strands."""
        return getattr(self.config, "both_strands", False)

    def counts(self, has_folds: bool) -> dict[str, int]:
        """What else there is to count in the rows; of a cross-validation, in which all rows but the test rows validate."""
        counts: dict[str, int] = {}
        for split, rows in self.splits.items():
            name = "validation" if has_folds and split == "train" else split
            for what, n in rows.counts().items():
                counts[f"{name}: {what}"] = counts.get(f"{name}: {what}", 0) + n
            counts |= {f"{file}: rows left out": n for file, n in rows.rejected().items()}
        return counts


class Fitted(NamedTuple):
    """A finished run: its trainer, what its card says, and the final metrics of every split, with their prefixes."""

    trainer: RunTrainer
    card: CardFacts
    metrics: dict[str, dict[str, float]]


def cross_validate(
    data_args: RegressionDataArguments,
    model_args: RegressionModelArguments,
    training_args: RegressionArguments,
    folder: RunFolder,
    command: str,
    few_rows_args: RegressionArguments | None = None,
) -> dict[str, float]:
    """Fits a model for each fold, in a folder of its own, and joins them; returns the final metrics of every split."""
    names, state = read_fold_names(data_args), PartialState()
    first = read_rows(data_args, model_args, training_args, folder, fold=0)
    suit_few_rows(training_args, few_rows_args, len(first.splits["train"]))
    ceiling = find_ceiling(
        first.splits, data_args.replicates, has_folds=True, transform=LabelTransform.of(data_args.label_setting)
    )
    repository = open_repository(training_args) if training_args.push_to_hub and state.is_main_process else None
    for fold, name in enumerate(names):
        own_folder, own_args = start_fold(folder, training_args, fold)
        with own_folder:
            done = ", finished before" if own_folder.is_finished else ""
            logger.info("fold %s (%d of %d): %s%s", name, fold + 1, len(names), own_folder.path, done)
            if not own_folder.is_finished:
                read = read_rows(data_args, model_args, own_args, own_folder, fold) if fold else first
                trainer, card, _ = fit(read, data_args, model_args, own_args, own_folder, command, fold)
                if state.is_main_process:
                    write_card(own_folder.path, own_folder.path.name, card, trainer.model.config)
                    finish_fold(own_folder)
            state.wait_for_everyone()

    metrics = {}
    if state.is_main_process:
        result = join_folds(folder, names, code_version=code_version(ROOT))
        metrics = result.splits
        settings = describe_settings(training_args, result.model)
        settings["validation rows"] = "all but the test rows, each predicted by the model that has not seen it"
        settings["folds"] = f"{len(names)}; mean and SD of their models: {describe_folds(result.mean, result.sd)}"
        chosen = chosen_by_validation(training_args, result.model.config.member_configs)
        verdict = judge(folder, result.baselines, chosen, NEXT_COMMAND, ceiling, has_folds=True)
        card = describe(data_args, model_args, result.tokenizer, metrics, settings, verdict, len(names))
        write_card(folder.path, repository or folder.path.name, card, result.model.config)
        folds = [
            Fold(
                name,
                n_rows,
                result.folds[name],
                {NAMES[kind]: s for kind, s in result.fold_baselines.get(name, {}).items()},
            )
            for name, n_rows in result.fold_rows.items()
        ]
        facts = {
            "folds": folds,
            "baselines": by_baseline(result.baselines),
            "ceiling": ceiling and ceiling.noise_ceiling,
        }
        summarise(folder, data_args, first, card, metrics, command, **facts)
        logger.info("the mean of the models, metrics and card: %s", folder.path)
    state.wait_for_everyone()
    state.destroy_process_group()  # processes on CPUs that exit without this may abort
    if repository:
        push_folder(folder.path, repository, training_args.hub_revision)
    return flatten(metrics)


def read_rows(
    data_args: RegressionDataArguments,
    model_args: RegressionModelArguments,
    training_args: RegressionArguments,
    folder: RunFolder,
    fold: int | None = None,
) -> Read:
    """Reads the rows as the network will see them; of a cross-validation, those of the model that a fold validates.

    Rows that cannot be used are listed in the folder.
    """
    names = tuple(data_args.label_columns)
    tokenizer = load_tokenizer(**model_args.checkpoint, **model_args.kmers)
    outputs = {"id2label": dict(enumerate(names)), "label2id": {name: output for output, name in enumerate(names)}}
    outputs |= {"num_labels": len(names), "problem_type": "regression"}
    config = load_config(tokenizer, **model_args.checkpoint, **model_args.architecture, **outputs)
    if model_args.reading_frames:
        config = KmerBertConfig.from_bert(config, model_args.reading_frames)
    config.update({"kmer_max_tokens": data_args.max_seq_length})
    with training_args.main_process_first(desc="reading the sequences"):
        flanks = load_flanks(data_args, config)
        both_strands = getattr(config, "both_strands", False)
        splits = load_splits(
            data_args,
            training_args,
            tokenizer,
            max_tokens(config),
            names,
            flanks,
            both_strands,
            fold,
            folder,
        )
    check_checkpoint(config, splits, LabelTransform.of(data_args.label_setting))
    return Read(splits, tokenizer, config)


def suit_few_rows(training_args: RegressionArguments, few_rows_args: RegressionArguments | None, n_rows: int) -> None:
    """Takes how long is trained from `few_rows_args`, if it is given and there are few training rows."""
    if not few_rows_args or n_rows >= FEW_ROWS:
        return
    logger.info(
        "%d training rows, fewer than %d: %d steps of %d sequences instead, as in recipes/small",
        *(n_rows, FEW_ROWS, few_rows_args.max_steps, few_rows_args.per_device_train_batch_size),
    )
    for name in (*LENGTH, *RHYTHM):
        setattr(training_args, name, getattr(few_rows_args, name))


def fit(
    read: Read,
    data_args: RegressionDataArguments,
    model_args: RegressionModelArguments,
    training_args: RegressionArguments,
    folder: RunFolder,
    command: str,
    fold: int | None = None,
) -> Fitted:
    """Builds, trains, saves and scores; of a cross-validation, the model that a fold validates."""
    names, (splits, tokenizer, config) = tuple(data_args.label_columns), read
    transform = LabelTransform.of(data_args.label_setting)
    # Of a cross-validation, the verdict and the ceiling are about the folds together.
    ceiling = find_ceiling(splits, data_args.replicates, transform=transform) if fold is None else None
    earlier_rows = TrainingSample.from_text(getattr(config, "training_sample", None))

    def trained_rows() -> dict[str, str]:
        return {"training_sample": splits["train"].training_sample().joined(earlier_rows).text}

    metrics_of_outputs = [f"{metric}_{name}" for metric in REGRESSION_METRICS for name in names]
    plan_evaluations(training_args, splits, (*REGRESSION_METRICS, *metrics_of_outputs))
    for rows in splits.values():
        rows.check_reading_frames(getattr(config, "n_frames", 1))
    scaler = TargetScaler.fit(splits["train"].label_blocks(), names)
    splits = {split: rows.with_targets(scaler) for split, rows in splits.items()}

    model = load_model(AutoModelForSequenceClassification, config, **model_args.checkpoint)
    output_layer(model)  # a model that could not be rescaled at the end fails now
    if getattr(config, "outputs_in_label_units", False):  # a fine-tuned checkpoint: back to standardised outputs
        rescale_outputs(model, 1 / np.array(scaler.scale), -np.array(scaler.mean) / scaler.scale)
    facts = splits["train"].facts() | {"code_version": code_version(ROOT)}
    units = {"label_mean": scaler.mean, "label_scale": scaler.scale, "label_unit": predicted_unit(data_args)}
    units |= {"label_transform": data_args.label_setting}
    measured = list(zip(scaler.lowest, scaler.highest, strict=True))
    facts["training_range"] = TrainingRange.of(splits["train"].letters(tokenizer.alphabet), measured).setting
    model.config.update(facts | units | trained_rows() | {"outputs_in_label_units": False})

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        predictions, labels = scaler.invert(prediction.predictions), scaler.invert(prediction.label_ids)
        warn_if_collapsed(prediction_spread(predictions, labels), names)
        return regression_metrics(predictions, labels, names)

    trainer = RunTrainer(
        model,
        training_args,
        folder,
        splits,
        data_collator=collate,
        processing_class=tokenizer_for(model, tokenizer),
        compute_loss_func=regression_loss(training_args.loss, scaler.scale),
        preprocess_logits_for_metrics=lambda logits, labels: logits[0] if isinstance(logits, tuple) else logits,
        compute_metrics=compute_metrics,
        callbacks=make_callbacks(training_args),
    )

    training_metrics = train(trainer)
    blend = None
    if training_args.linear_term and not data_args.streaming:
        blend = add_linear_term(trainer, splits)
    model.config.update(trained_rows())  # of a stream, they are known now
    save_run(trainer, scaler.scale, scaler.mean)
    report(trainer, "train", training_metrics)
    metrics = {}
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if split not in splits:
            continue
        result = trainer.predict(splits[split], metric_key_prefix=prefix)
        metrics[split] = result.metrics
        report(trainer, prefix, result.metrics)
        if trainer.is_world_process_zero():
            rows = read_names(splits[split], data_args.id_column, data_args.sequence_column, data_args.kept_columns)
            folder.note(f"{split}_predictions.tsv")
            path = folder.path / f"{split}_predictions.tsv"
            write_predictions(path, rows, scaler.invert(result.predictions), splits[split].labels, names)

    verdict, baselines = None, {}
    if trainer.is_world_process_zero():
        if training_args.baselines and not data_args.streaming:
            baselines = write_baselines(folder, splits, names, data_args.id_column, data_args.sequence_column)
        if fold is None:
            verdict = judge(
                folder, baselines, chosen_by_validation(training_args, [model.config]), NEXT_COMMAND, ceiling
            )
    settings = describe_settings(training_args, model) | run_facts(trainer)
    if blend:
        settings["linear term"] = blend.describe()
    card = describe(data_args, model_args, tokenizer, metrics, settings, verdict)
    if trainer.is_world_process_zero():
        rows = splits["train"].examples(TRAINING_ROWS, data_args.split_seed, data_args.sequence_column)
        summarise(
            *(folder, data_args, read, card, metrics, command),
            baselines=by_baseline(baselines),
            ceiling=ceiling and ceiling.noise_ceiling,
            n_training_rows=len(splits["train"]),
            training_sequences=rows.sequences,
            training_labels=rows.labels,
            log_history=trainer.state.log_history,
            has_linear_term=blend is not None,
            saved_step=saved_step(trainer),
        )
    return Fitted(trainer, card, metrics)


def chosen_by_validation(training_args: RegressionArguments, configs: Sequence[PretrainedConfig]) -> list[str]:
    """What the validation rows chose of models with these configurations, for the verdict."""
    chosen = ["the checkpoint"] if training_args.load_best_model_at_end else []
    has_term = training_args.linear_term and any(getattr(config, "linear_term", False) for config in configs)
    return chosen + ["the weight of the linear term"] * has_term


def summarise(
    folder: RunFolder,
    data_args: RegressionDataArguments,
    read: Read,
    card: CardFacts,
    metrics: Mapping[str, Mapping[str, float]],
    command: str,
    **facts: Any,
) -> None:
    """Writes report.html from the predictions in a folder; `facts` are more fields of `ReportFacts`."""
    names = data_args.label_columns
    predictions = {split: read_predictions(str(folder.path / f"{split}_predictions.tsv")) for split in metrics}
    is_calibrated = {"validation", "test"} <= predictions.keys()
    if is_calibrated:  # as run_predict.py does it, so that the report can say how many measured values they hold
        predictions["test"] = with_intervals(predictions["test"], predictions["validation"], names)
    path = folder.path / REPORT_FILE
    folder.note(REPORT_FILE)
    report_facts = ReportFacts(
        title=folder.path.name,
        summary=card.summary,
        outputs=names,
        predictions=predictions,
        metrics=select_metrics(
            metrics, [*REGRESSION_METRICS, *(f"{m}_{n}" for m in REGRESSION_METRICS for n in names)]
        ),
        verdict=card.verdict,
        unit=predicted_unit(data_args),
        same_scale=True,
        both_strands=read.both_strands,
        counts=read.counts(has_folds="folds" in facts),
        calibrated_on="validation" if is_calibrated else "",
        settings=card.settings,
        command=command,
        program=Path(__file__).name,
        **facts,
    )
    write_report(path, report_facts)
    logger.info("report: %s", path)


def predicted_unit(data_args: RegressionDataArguments) -> str:
    """The unit of what the model predicts: that of the measured values, or of their logarithms."""
    transform = LabelTransform.of(data_args.label_setting)
    return transform.unit(data_args.label_unit, data_args.label_columns) if transform else data_args.label_unit


def describe(
    data_args: RegressionDataArguments,
    model_args: RegressionModelArguments,
    tokenizer: KmerTokenizer,
    metrics: Mapping[str, Mapping[str, float]],
    settings: Mapping[str, Any],
    verdict: Verdict | None = None,
    n_models: int = 1,
) -> CardFacts:
    """Returns what the card of a model, or of the mean of several, says."""
    names = data_args.label_columns
    unit = predicted_unit(data_args)
    members = (
        f" They are the mean of {n_models} models, each trained without one fold of the rows." if n_models > 1 else ""
    )
    return CardFacts(
        task="text-classification",
        summary=f"Predicts {', '.join(names)}{f' ({unit})' if unit else ''} from DNA, read as {tokenizer.k}-mers (stride "
        f"{tokenizer.stride}). {describe_unit(data_args.label_setting, unit)}{members}",
        # Without top_k the pipeline answers with one of several outputs, the highest.
        usage=USAGE if len(names) == 1 else USAGE.replace("_code=True)", "_code=True, top_k=None)  # every output"),
        metrics=select_metrics(metrics, REGRESSION_METRICS),
        baselines=verdict.baselines if verdict else {},
        verdict=verdict.lines if verdict else (),
        settings={**settings, **({"groups": data_args.group_column} if data_args.group_column else {})},
        base_model=model_args.model_name_or_path,
    )


if __name__ == "__main__":
    run(main)
