#!/usr/bin/env bash
# Run the papers' experiments and write docs/RESULTS.md. With the environment activated; six hours on two cores. What is
# finished is not done again.
# CIFAR10 may name a folder of CIFAR-10's images, PHOTOS one of ILSVRC's: with them set, the parts on colour images run, too.
# What of them has not run is left out of the page.
set -euo pipefail
cd "$(dirname "$0")/.."
for experiment in zhao2019 zhao2019_transfer_small martin2019 hsu2018 papernot2016_small \
  papernot2016_distillation_small cohen2019_small szegedy2013_small lecture_detection; do
  snakemake --cores all --config "experiment=$experiment"
done
if [ -n "${CIFAR10:-}" ]; then
  for experiment in zhao2019_cifar10_small zhao2019_cifar10_table1 hsu2018_cifar10_small martin2019_cifar10_small; do
    snakemake --cores all --config "experiment=$experiment" dataset=cifar10_folder overrides="dataset.root='$CIFAR10'"
  done
fi
if [ -n "${PHOTOS:-}" ]; then
  for experiment in zhao2019_imagenet_small zhao2019_imagenet_table1; do
    snakemake --cores all --config "experiment=$experiment" overrides="dataset.root='$PHOTOS'"
  done
fi
python -m advdetect results-page --template docs/RESULTS.md.j2 --output docs/RESULTS.md
