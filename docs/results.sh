#!/usr/bin/env bash
# Run the papers' experiments, estimate what the one that is small here would take as a whole, and write
# docs/RESULTS.md. With the environment activated; four hours on two cores. What is finished is not done again.
set -euo pipefail
cd "$(dirname "$0")/.."
for experiment in zhao2019 zhao2019_transfer_small martin2019 hsu2018_small papernot2016_small \
  papernot2016_distillation_small cohen2019_small szegedy2013_small lecture_detection; do
  snakemake --cores all --config "experiment=$experiment"
done
python tools/estimate --from experiment=hsu2018_small --config experiment=hsu2018 \
  --cores 2 16 > results/hsu2018_small/estimate.txt
python -m advdetect results-page --template docs/RESULTS.md.j2 --output docs/RESULTS.md
