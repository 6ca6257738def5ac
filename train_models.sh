#!/usr/bin/env bash
# From nothing to results, on a GPU machine: download the Kaggle set, train each model, evaluate, write the table.
#
#   bash train_models.sh                                        # ResNet50 and EfficientNet-B0, 8 epochs each
#   DATA=folder MODELS=efficientnet_b0 EPOCHS=2 bash train_models.sh     # your own folder, one model, two epochs
#   TRAIN_FLAGS="--recipe indomain --pretrained imagenet" bash train_models.sh   # better than the original's choices
#
# Run it again after an interruption: finished runs are kept, an unfinished one goes on from where it was.
set -euo pipefail
case ${DATA:-} in "" | /*) ;; *) DATA=$PWD/$DATA ;; esac             # folders are named from where the caller stands
case ${RESULTS:-} in "" | /*) ;; *) RESULTS=$PWD/$RESULTS ;; esac
cd "$(dirname "$0")"

KAGGLE_SET=manjilkarki/deepfake-and-real-images
MODELS=${MODELS:-resnet50 efficientnet_b0}
EPOCHS=${EPOCHS:-8}
KEEP="1 3 5 8"                                     # the original trained nineteen epochs to get these four
RESULTS=${RESULTS:-results}
TRAIN_FLAGS=${TRAIN_FLAGS:---recipe original}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}

download() {  # a token is read by the kaggle program from where its owner keeps it; none is ever written here
  if [ -d data/Dataset ]; then return; fi
  if ! command -v kaggle > /dev/null; then
    echo "train_models.sh: error: the kaggle program is missing (pip install kaggle), or give DATA=folder" >&2
    exit 1
  fi
  if [ -z "${KAGGLE_API_TOKEN:-}" ] && [ -z "${KAGGLE_USERNAME:-}" ] && ! [ -e ~/.kaggle/access_token ] \
    && ! [ -e "${KAGGLE_CONFIG_DIR:-$HOME/.kaggle}/kaggle.json" ]; then
    echo "train_models.sh: error: no Kaggle credential: set KAGGLE_API_TOKEN (kaggle.com/settings), or give DATA=folder" >&2
    exit 1
  fi
  mkdir -p data
  kaggle datasets download "$KAGGLE_SET" --path data
  rm -rf data/unzipped
  unzip -q "data/${KAGGLE_SET#*/}.zip" -d data/unzipped
  mv data/unzipped/Dataset data/Dataset            # the last step: what is named data/Dataset is whole
  rm -rf data/unzipped "data/${KAGGLE_SET#*/}.zip"
}

if [ -z "${DATA:-}" ]; then
  download
  DATA=data/Dataset
fi

kept=
for epoch in $KEEP; do if [ "$epoch" -le "$EPOCHS" ]; then kept=$kept${kept:+,}$epoch; fi; done

runs=()
for model in $MODELS; do
  run=$RESULTS/$model
  runs+=("$run")
  # shellcheck disable=SC2086  # TRAIN_FLAGS holds several words
  "$PYTHON" train.py --data "$DATA" --arch "$model" --epochs "$EPOCHS" --keep-epochs "$kept" --out "$run" --resume \
    $TRAIN_FLAGS
done

# A folder without splits is divided by train.py; eval.py then finds the part that was left for Test.
"$PYTHON" eval.py --models "${runs[@]}" --data "$DATA" --out "$RESULTS/evaluation" --overwrite
