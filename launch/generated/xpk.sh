#!/usr/bin/env bash
# Written by launch/generate.py. Change the spec and run it again; do not edit this.
xpk workload create \
  --workload=jaxvl \
  --project=my-project \
  --zone=us-west4-a \
  --cluster=my-cluster \
  --tpu-type=v5litepod-16 \
  --num-slices=1 \
  --docker-image=us-docker.pkg.dev/my-project/jaxvl/jaxvl:latest \
  --max-restarts=20 \
  --restart-on-exit-codes=1,75 \
  --termination-grace-period-seconds=180 \
  --command='python -m jaxvl.main --distributed --config=coco_softmask --config.data.dir=gs://my-bucket/coco --workdir=gs://my-bucket/runs/coco_softmask' \
  "$@"
