# jaxvl with its experiments, for GKE and for every other place that runs images.
#   docker build --tag jaxvl .                        for TPUs
#   docker build --tag jaxvl --build-arg EXTRA=cuda . for NVIDIA GPUs
#   docker run jaxvl --config=coco_softmask --workdir=gs://my-bucket/runs/one
# .dockerignore lets in what is copied below and nothing else: no data, no runs, no keys.
FROM python:3.12-slim

ARG EXTRA=tpu
RUN pip install --no-cache-dir "uv>=0.9,<1"

# What jaxvl needs is a layer of its own: a change of jaxvl leaves these gigabytes as they are.
WORKDIR /jaxvl
COPY pyproject.toml ./
RUN uv pip install --system --no-cache -r pyproject.toml --extra "$EXTRA" --extra gcs

COPY . .
RUN uv pip install --system --no-cache --no-deps . && useradd --create-home --uid 1000 jaxvl

USER 1000
WORKDIR /home/jaxvl
ENTRYPOINT ["python", "-m", "jaxvl.main"]
