"""Fits a measured number (gene expression from a promoter) to DNA, from a pretrained checkpoint or from scratch.

Reads a table with a sequence and one or several measured values (TSV, CSV, JSON lines, Parquet, a Hub dataset, or the
headerless `sequence<TAB>value` of the DREAM Challenge). Writes to --output_dir the model, which answers in the values'
own unit, its tokenizer, metrics, a model card, and validation_predictions.tsv and test_predictions.tsv for
run_evaluate.py.

    python run_finetune_regression.py --train_file promoters.tsv --output_dir runs/expression
    accelerate launch --config_file accelerate_config.yaml run_finetune_regression.py --model_name_or_path runs/mlm \\
        --train_file promoters.tsv --test_file test.tsv --num_train_epochs 10 --output_dir runs/expression
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import AutoModelForSequenceClassification, EvalPrediction, Trainer

from kmerbert.cli.flags import RegressionDataArguments, RegressionModelArguments
from kmerbert.cli.parser import parse
from kmerbert.cli.run import run
from kmerbert.models import loading as models
from kmerbert.models import outputs as heads
from kmerbert.predicting.table import write_predictions
from kmerbert.scoring.metrics import REGRESSION_METRICS, prediction_spread, regression_metrics, warn_if_collapsed
from kmerbert.sharing.card import CardFacts, chosen, code_version, settings, write_card
from kmerbert.tokens import batches
from kmerbert.training import run as training
from kmerbert.training import splits as data
from kmerbert.training import streaming
from kmerbert.training.callbacks import callbacks
from kmerbert.training.flags import RegressionArguments
from kmerbert.training.losses import regression_loss
from modeling_kmer_conv import KmerConvConfig  # noqa: F401 (makes --model_type kmer_conv known)
from modeling_kmer_regression import KmerBertConfig
from tokenization_kmer import KmerTokenizer

USAGE = """from transformers import pipeline
predict = pipeline("text-classification", model="REPO", trust_remote_code=True)
predict("TGCATTTTTTTCACATCGGTTACGGCTGTTAACCGGTTAACCGGTTAACC")"""


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the script; returns the final metrics of every split."""
    groups = (RegressionModelArguments, RegressionDataArguments, RegressionArguments)
    model_args, data_args, training_args = parse(groups, argv, __doc__)
    names = data_args.label_columns

    checkpoint = training.start_run(training_args, model_args, data_args)

    tokenizer = models.load_tokenizer(KmerTokenizer, model_args)
    outputs = {"id2label": dict(enumerate(names)), "label2id": {name: output for output, name in enumerate(names)}}
    config = models.load_config(model_args, tokenizer, num_labels=len(names), problem_type="regression", **outputs)
    if model_args.reading_frames:
        config = KmerBertConfig.from_bert(config, model_args.reading_frames)
    with training_args.main_process_first(desc="reading the sequences"):
        flanks = data.load_flanks(data_args, config)
        splits = streaming.load_splits(training_args, data_args, tokenizer, models.max_tokens(config), names, flanks)
    measured = [f"{metric}_{name}" for metric in REGRESSION_METRICS for name in names]
    training.plan_evaluations(training_args, splits, (*REGRESSION_METRICS, *measured))
    data.check_reading_frames(splits, getattr(config, "n_frames", 1))
    scaler = streaming.fit_targets(splits["train"], names)
    splits = streaming.with_targets(splits, scaler)

    model = models.load_model(AutoModelForSequenceClassification, model_args, config)
    heads.output_layer(model)  # a model that could not be rescaled at the end is refused now
    if getattr(config, "outputs_in_label_units", False):  # a fine-tuned checkpoint: back to standardised outputs
        heads.rescale_outputs(model, 1 / np.array(scaler.scale), -np.array(scaler.mean) / scaler.scale)
    facts = streaming.describe(splits["train"]) | {"code_version": code_version(Path(__file__).parent)}
    units = {"label_mean": scaler.mean, "label_scale": scaler.scale, "label_unit": data_args.label_unit}
    model.config.update(facts | units | {"outputs_in_label_units": False})

    def compute_metrics(found: EvalPrediction) -> dict[str, float]:
        predictions, labels = scaler.invert(found.predictions), scaler.invert(found.label_ids)
        warn_if_collapsed(prediction_spread(predictions, labels), names)
        return regression_metrics(predictions, labels, names)

    trainer = Trainer(
        model,
        training_args,
        data_collator=batches.collate,
        train_dataset=splits["train"],
        eval_dataset=splits.get("validation"),
        processing_class=tokenizer,
        compute_loss_func=regression_loss(training_args.loss, scaler.scale),
        preprocess_logits_for_metrics=lambda logits, labels: logits[0] if isinstance(logits, tuple) else logits,
        compute_metrics=compute_metrics,
        callbacks=callbacks(training_args, model_args, data_args),
    )

    training.train(trainer, checkpoint)
    metrics = {}
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if split not in splits:
            continue
        found = trainer.predict(splits[split], metric_key_prefix=prefix)
        metrics[split] = found.metrics
        training.report(trainer, prefix, found.metrics)
        if trainer.is_world_process_zero():
            rows = batches.read_names(splits[split], data_args.id_column, data_args.sequence_column)
            path = Path(training_args.output_dir) / f"{split}_predictions.tsv"
            write_predictions(path, rows, scaler.invert(found.predictions), splits[split].labels, names)

    heads.rescale_outputs(model, scaler.scale, scaler.mean)
    model.config.update({"outputs_in_label_units": True})
    unit = f" ({data_args.label_unit})" if data_args.label_unit else ""
    card = CardFacts(
        task="text-classification",
        summary=f"Predicts {', '.join(names)}{unit} from DNA, read as {tokenizer.k}-mers (stride {tokenizer.stride}). The "
        "outputs are in the unit of the measured values.",
        usage=USAGE,
        metrics=chosen(metrics, REGRESSION_METRICS),
        settings=settings(training_args, model),
        base_model=model_args.model_name_or_path,
    )
    training.finish_run(trainer, lambda folder, repository: write_card(folder, repository, card, model.config))
    return training.flat(metrics)


if __name__ == "__main__":
    run(main)
