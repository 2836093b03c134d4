#!/usr/bin/env bash
# Run the papers' experiments, estimate what those that are small here would take as a whole, and write
# docs/RESULTS.md. With the environment activated; an hour on two cores. What is finished is not done again.
set -euo pipefail
cd "$(dirname "$0")/.."
snakemake --cores all --config experiment=martin2019
for paper in zhao2019 hsu2018; do
  snakemake --cores all --config "experiment=${paper}_small"
  python tools/estimate --from "experiment=${paper}_small" --config "experiment=$paper" \
    --cores 2 16 > "results/${paper}_small/estimate.txt"
done
python -m advdetect results-page --template docs/RESULTS.md.j2 --output docs/RESULTS.md
