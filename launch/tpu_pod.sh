#!/usr/bin/env bash
# Create a TPU slice, train on it and delete it, with gcloud; every worker runs the same command.
#   PROJECT=p ZONE=us-central2-b launch/tpu_pod.sh create
#   PROJECT=p ZONE=us-central2-b launch/tpu_pod.sh run \
#     --config=coco_softmask --config.data.dir=/mnt/shared/tfds --workdir=/mnt/shared/coco
#   PROJECT=p ZONE=us-central2-b launch/tpu_pod.sh delete
# /mnt/shared is a folder that every worker sees: a mounted bucket (gcsfuse) or Filestore.
# Written from Google's documentation; not tried on a TPU.
set -euo pipefail

: "${PROJECT:?"set PROJECT to the Google Cloud project"}"
: "${ZONE:?"set ZONE, for instance us-central2-b"}"
NAME=${NAME:-jaxvl}
ACCELERATOR=${ACCELERATOR:-v4-32}
RUNTIME=${RUNTIME:-tpu-ubuntu2204-base}
SPOT=${SPOT:-} # SPOT=--spot for a slice that can be taken away; jaxvl saves at SIGTERM

where=(--project="$PROJECT" --zone="$ZONE")

on_all_workers() {
  gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" --worker=all --command="$1"
}

case ${1:-} in
  create)
    gcloud compute tpus tpu-vm create "$NAME" "${where[@]}" ${SPOT:+"$SPOT"} \
      --accelerator-type="$ACCELERATOR" --version="$RUNTIME"
    archive=$(mktemp --suffix=.tar.gz)
    git archive --format=tar.gz --prefix=jaxvl/ --output="$archive" HEAD
    gcloud compute tpus tpu-vm scp "$archive" "$NAME:jaxvl.tar.gz" "${where[@]}" --worker=all
    rm "$archive"
    on_all_workers "tar xzf jaxvl.tar.gz && python3 -m venv venv && venv/bin/pip install -q './jaxvl[tpu]'"
    ;;
  run)
    shift
    flags=$(printf ' %q' "$@")
    on_all_workers "cd jaxvl && ../venv/bin/python -m jaxvl.main --distributed$flags"
    ;;
  delete)
    gcloud compute tpus tpu-vm delete "$NAME" "${where[@]}" --quiet
    ;;
  *)
    echo "usage: launch/tpu_pod.sh create | run FLAGS_OF_JAXVL_TRAIN... | delete" >&2
    exit 2
    ;;
esac
