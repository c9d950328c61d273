"""Pretrains a masked language model on DNA: it learns to predict hidden bases from their neighbours.

Reads sequences from a table, a FASTA file, plain lines or a Hub dataset; labels are not needed. Writes the model, its
tokenizer, metrics and a model card to --output_dir; run_finetune_regression.py starts from that folder.

    python run_pretrain_mlm.py --config recipes/smoke/pretrain_mlm.yaml --train_file upstream.txt --output_dir runs/mlm
    accelerate launch --config_file accelerate_config.yaml run_pretrain_mlm.py --train_file genome.fa.gz \\
        --window_length 510 --per_device_train_batch_size 256 --output_dir runs/mlm
"""

import kmerbert.cli.interruption  # noqa: F401 (Ctrl-C during the imports)

import logging
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoModelForMaskedLM

from kmerbert.cli.flags import ModelArguments, PretrainingDataArguments
from kmerbert.cli.parser import parse
from kmerbert.cli.run import run
from kmerbert.models.loading import load_config, load_model, load_tokenizer, max_tokens, tokenizer_for
from kmerbert.models.outputs import score_masked_tokens
from kmerbert.scoring.masked import MaskedMetrics, MaskedScorer
from kmerbert.scoring.metrics import MASKED_LM_METRICS
from kmerbert.sharing.card import CardFacts, code_version, describe_settings, select_metrics
from kmerbert.sharing.hub import publish
from kmerbert.tokens.masking import build_masking
from kmerbert.training.callbacks import make_callbacks
from kmerbert.training.flags import PretrainingArguments
from kmerbert.training.folder import RunFolder
from kmerbert.training.losses import masked_lm_loss
from kmerbert.training.run import flatten, plan_evaluations, report, run_facts, save_run, start_run, train
from kmerbert.training.splits import load_flanks, load_splits, settle_columns
from kmerbert.training.trainer import RunTrainer

logger = logging.getLogger(__name__)
USAGE = """from transformers import pipeline
fill = pipeline("fill-mask", model="REPO", trust_remote_code=True)
fill("TGCATTTTTTTCACATC[MASK]GGTTACGGCTGTT")"""


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the script; returns the final metrics of every split."""
    groups = (PretrainingDataArguments, ModelArguments, PretrainingArguments)
    data_args, model_args, training_args = parse(groups, argv, __doc__)
    training_args.batch_eval_metrics = True  # MaskedMetrics is called batch by batch
    remark = settle_columns(data_args)

    with start_run(training_args, model_args, data_args) as folder:
        if remark:
            logger.info("%s", remark)
        return fit(data_args, model_args, training_args, folder)


def fit(
    data_args: PretrainingDataArguments,
    model_args: ModelArguments,
    training_args: PretrainingArguments,
    folder: RunFolder,
) -> dict[str, float]:
    """Reads, builds, trains, saves and scores; returns the final metrics of every split."""
    tokenizer = load_tokenizer(**model_args.checkpoint, **model_args.kmers)
    config = load_config(tokenizer, **model_args.checkpoint, **model_args.architecture)
    collator = build_masking(tokenizer, **data_args.mask, seed=training_args.seed)
    config.update({"kmer_max_tokens": data_args.max_seq_length})
    with training_args.main_process_first(desc="reading the sequences"):
        flanks = load_flanks(data_args, config)
        both_strands = getattr(config, "both_strands", False)
        splits = load_splits(
            *(data_args, training_args, tokenizer, max_tokens(config)),
            flanks=flanks,
            both_strands=both_strands,
            folder=folder,
        )
    plan_evaluations(training_args, splits, MASKED_LM_METRICS)
    facts = splits["train"].facts() | {"code_version": code_version(Path(__file__).parent)}
    collator.check_length(facts["sequence_length"][1])

    model = load_model(AutoModelForMaskedLM, config, **model_args.checkpoint)
    model.config.update(facts)
    score_masked_tokens(model)
    trainer = RunTrainer(
        model,
        training_args,
        folder,
        splits,
        data_collator=collator,
        processing_class=tokenizer_for(model, tokenizer),
        compute_loss_func=masked_lm_loss,
        preprocess_logits_for_metrics=MaskedScorer(tokenizer),
        compute_metrics=MaskedMetrics(),
        callbacks=make_callbacks(training_args),
    )

    training_metrics = train(trainer)
    save_run(trainer)
    report(trainer, "train", training_metrics)
    metrics = {}
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if split in splits:
            metrics[split] = trainer.evaluate(splits[split], metric_key_prefix=prefix)
            report(trainer, prefix, metrics[split])

    card = CardFacts(
        task="fill-mask",
        summary=f"A masked language model of DNA over {tokenizer.k}-mers (stride {tokenizer.stride}). It reads plain DNA "
        f"and predicts what is hidden. Masking: {data_args.masking}.",
        usage=USAGE,
        metrics=select_metrics(metrics, MASKED_LM_METRICS),
        settings=describe_settings(training_args, model) | run_facts(trainer),
        base_model=model_args.model_name_or_path,
    )
    publish(trainer, card)
    return flatten(metrics)


if __name__ == "__main__":
    run(main)
