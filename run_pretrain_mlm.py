"""Pretrains a masked language model on DNA: it learns to guess hidden bases from their neighbours.

Reads sequences from a table, a FASTA file, plain lines or a Hub dataset; labels are not needed. Writes the model, its
tokenizer, metrics and a model card to --output_dir; run_finetune_regression.py starts from that folder.

    python run_pretrain_mlm.py --config recipes/smoke/pretrain_mlm.yaml --train_file upstream.txt --output_dir runs/mlm
    accelerate launch --config_file accelerate_config.yaml run_pretrain_mlm.py --train_file genome.fa.gz \\
        --window_length 510 --per_device_train_batch_size 256 --output_dir runs/mlm
"""

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoModelForMaskedLM, Trainer

from kmerbert.cli.flags import ModelArguments, PretrainingDataArguments
from kmerbert.cli.parser import parse
from kmerbert.cli.run import run
from kmerbert.models import loading as models
from kmerbert.models.outputs import score_masked_tokens
from kmerbert.scoring import masked as masked_metrics
from kmerbert.sharing.card import CardFacts, chosen, code_version, settings, write_card
from kmerbert.tokens.masking import build_masking
from kmerbert.training import run as training
from kmerbert.training import splits as data
from kmerbert.training import streaming
from kmerbert.training.callbacks import callbacks
from kmerbert.training.flags import PretrainingArguments
from kmerbert.training.losses import masked_lm_loss
from modeling_kmer_conv import KmerConvConfig  # noqa: F401 (makes --model_type kmer_conv known)
from tokenization_kmer import KmerTokenizer

USAGE = """from transformers import pipeline
fill = pipeline("fill-mask", model="REPO", trust_remote_code=True)
fill("TGCATTTTTTTCACATC[MASK]GGTTACGGCTGTT")"""


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the script; returns the final metrics of every split."""
    groups = (ModelArguments, PretrainingDataArguments, PretrainingArguments)
    model_args, data_args, training_args = parse(groups, argv, __doc__)
    training_args.batch_eval_metrics = True  # as MaskedMetrics counts

    checkpoint = training.start_run(training_args, model_args, data_args)

    tokenizer = models.load_tokenizer(KmerTokenizer, model_args)
    config = models.load_config(model_args, tokenizer)
    collator = build_masking(data_args, tokenizer, training_args.seed)
    with training_args.main_process_first(desc="reading the sequences"):
        splits = streaming.load_splits(
            training_args, data_args, tokenizer, models.max_tokens(config), flanks=data.load_flanks(data_args, config)
        )
    training.plan_evaluations(training_args, splits, masked_metrics.MASKED_METRICS)
    facts = streaming.describe(splits["train"]) | {"code_version": code_version(Path(__file__).parent)}
    collator.check_length(facts["sequence_length"][1])

    model = models.load_model(AutoModelForMaskedLM, model_args, config)
    model.config.update(facts)
    score_masked_tokens(model)
    trainer = Trainer(
        model,
        training_args,
        data_collator=collator,
        train_dataset=splits["train"],
        eval_dataset=splits.get("validation"),
        processing_class=tokenizer,
        compute_loss_func=masked_lm_loss,
        preprocess_logits_for_metrics=masked_metrics.MaskedScorer(tokenizer),
        compute_metrics=masked_metrics.MaskedMetrics(),
        callbacks=callbacks(training_args, model_args, data_args),
    )

    training.train(trainer, checkpoint)
    metrics = {}
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if split in splits:
            metrics[split] = trainer.evaluate(splits[split], metric_key_prefix=prefix)
            training.report(trainer, prefix, metrics[split])

    card = CardFacts(
        task="fill-mask",
        summary=f"A masked language model of DNA over {tokenizer.k}-mers (stride {tokenizer.stride}). It reads plain DNA "
        f"and guesses what is hidden. Masking: {data_args.masking}.",
        usage=USAGE,
        metrics=chosen(metrics, masked_metrics.MASKED_METRICS),
        settings=settings(training_args, model),
        base_model=model_args.model_name_or_path,
    )
    training.finish_run(trainer, lambda folder, repository: write_card(folder, repository, card, model.config))
    return training.flat(metrics)


if __name__ == "__main__":
    run(main)
