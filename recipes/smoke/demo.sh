#!/usr/bin/env bash
# What `make demo` runs: a whole project, small enough for a laptop. It writes only to runs/demo.
set -euo pipefail
PYTHON=${PYTHON:-python}
OUT=runs/demo
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
mkdir -p "$OUT"
began=$SECONDS
say() { printf '\n== %s\n' "$*"; }

say "1/6 simulating a table of 2,500 measured promoters, 20,000 noisy ones, and upstream DNA"
$PYTHON data/simulate_promoters.py --rows 2500 --mean_reads 100 --output_file "$OUT/promoters.tsv" --overwrite
$PYTHON data/simulate_promoters.py --rows 20000 --output_file "$OUT/train.tsv" --overwrite
$PYTHON data/simulate_promoters.py --rows 3000 --seed 1 --mean_reads 100 --output_file "$OUT/test.tsv" --overwrite
$PYTHON data/simulate_promoters.py --kind upstream --rows 2000 --output_file "$OUT/upstream.txt" --overwrite

say "2/6 the first command: a table in, a model and a verdict out"
$PYTHON run_finetune_regression.py --train_file "$OUT/promoters.tsv" --label_unit bin --output_dir "$OUT/first" \
    --overwrite_output_dir

say "3/6 pretraining a k-mer BERT on the upstream DNA"
$PYTHON run_pretrain_mlm.py --config recipes/smoke/pretrain_mlm.yaml --train_file "$OUT/upstream.txt" \
    --output_dir "$OUT/mlm" --overwrite_output_dir

say "4/6 fine-tuning it on the noisy promoters"
$PYTHON run_finetune_regression.py --config recipes/smoke/finetune_regression.yaml --model_name_or_path "$OUT/mlm" \
    --train_file "$OUT/train.tsv" --test_file "$OUT/test.tsv" --output_dir "$OUT/expression" --overwrite_output_dir

say "5/6 scoring and drawing, next to ridge regression"
$PYTHON run_evaluate.py --predictions_file "$OUT/expression/test_predictions.tsv" --run_dir "$OUT/expression" --unit bin \
    --output_dir "$OUT/evaluation" --overwrite_output_dir

say "6/6 done in $((SECONDS - began)) seconds"
$PYTHON - "$OUT" "$PYTHON" <<'PYTHON'
import json, sys
out, python = sys.argv[1:]
metrics = json.load(open(f"{out}/evaluation/metrics.json"))
masked = json.load(open(f"{out}/mlm/eval_results.json"))
verdict = json.load(open(f"{out}/first/verdict.json"))["verdict"]
print("The first command on 2,500 promoters (simulated data):", *verdict, sep="\n  ")
print(f"""Report: {out}/first/report.html, to open in a browser
A small ModernBERT over 5-mers was pretrained on upstream DNA (perplexity of a masked 5-mer: {masked['eval_perplexity']:.0f} of 1024), then fine-tuned on 18,000 noisy promoters.
Pearson r on {metrics['n']} unseen promoters: {metrics['pearsonr']:.3f}; ridge regression on k-mer counts: {metrics['baseline']['pearsonr']:.3f}.
Model: {out}/expression   metrics and figures: {out}/evaluation
On your own table:
    {python} run_finetune_regression.py --train_file promoters.xlsx --output_dir runs/mine
""", end="")
PYTHON
