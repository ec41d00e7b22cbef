"""The checks of `jaxvl doctor`, in the order in which a run would fail."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from jaxvl import paths
from jaxvl.data import sources, store
from jaxvl.doctor.check import Check, Found
from jaxvl.errors import UserError
from jaxvl.training import alike, coordination, experiment, needed

MEGABYTE = 2**20
READING = 3.0  # seconds of reading data
EXAMPLES = 64  # read at a time
WRITTEN = 16 * MEGABYTE  # by each process, into the working directory
SUMMED = 4 * MEGABYTE  # bytes of each device
SPARE = 10 * 2**30  # free bytes that are asked for where the configuration is not known
ACCELERATORS = ("/dev/nvidia0", "/dev/accel0", "/dev/vfio/0", "/dev/kfd")


def devices() -> Found:
    """Which devices this process sees."""
    local = jax.local_devices()
    if local[0].platform == "cpu" and (there := [p for p in ACCELERATORS if os.path.exists(p)]):
        raise UserError(
            f"JAX computes on the CPU, though {there[0]} is there; install JAX for it: pip install "
            "'jax[cuda13]', 'jax[cuda12]' or 'jax[tpu]', and look at JAX_PLATFORMS"
        )
    kind = f"{len(local)} x {local[0].device_kind}"
    count = jax.process_count()
    text = f"{kind} in each of {count} processes" if count > 1 else kind
    return Found(text, facts={"devices": {"of this process": kind}})


def versions() -> Found:
    """Which code and libraries this process has."""
    facts = alike.program(ConfigDict())
    text = f"python {facts['libraries']['python']}, jax {facts['libraries']['jax']}"
    return Found(f"{text}; {len(facts['code'])} files of jaxvl", facts=facts)


def configuration(config: ConfigDict) -> Found:
    """Whether the configuration fits these devices, and what it needs is there."""
    experiment.check(config)
    needed.check(config, started=False)
    each = config.batch_size // jax.device_count()
    kind = {"configuration": alike.program(config)["configuration"]}
    return Found(f"{config.method}, {each} examples a step and device", facts=kind)


def collective() -> Found:
    """Adds up an array over all devices, and compares the sum."""
    count = jax.device_count()
    mesh = Mesh(np.array(jax.devices()), "all")
    split = NamedSharding(mesh, PartitionSpec("all"))
    width = SUMMED // 4

    def rows(index):
        first, last, _ = index[0].indices(count)
        return np.repeat(np.arange(first + 1, last + 1, dtype=np.float32)[:, None], width, axis=1)

    values = jax.make_array_from_callback((count, width), split, rows)
    add = jax.jit(lambda x: x.sum(axis=0), out_shardings=NamedSharding(mesh, PartitionSpec()))
    total = jax.device_get(add(values).addressable_data(0))
    if not (total == count * (count + 1) / 2).all():
        raise UserError(
            f"the sum over {count} devices is wrong ({total[0]}); a device or a connection is "
            "faulty: leave this machine out"
        )
    start = time.monotonic()
    for _ in range(3):
        result = jax.block_until_ready(add(values))
    seconds = (time.monotonic() - start) / 3
    del result
    return Found(f"the sum over all {count} is right", {"MiB/s": SUMMED / MEGABYTE / seconds})


def data(open_sources: Callable[[], list[sources.Source]], *, batch_size: int | None) -> Found:
    """Reads records at random places for a few seconds. batch_size: of a run, for the text."""
    opened = open_sources()
    random, read, count = np.random.default_rng(jax.process_index()), 0, 0
    start = time.monotonic()
    while (seconds := time.monotonic() - start) < READING:
        for source in opened:
            indices = np.sort(random.integers(source.num_examples, size=EXAMPLES))
            found = source.read(indices)
            read, count = read + sum(map(len, found)), count + len(found)
    rates = {"MiB/s": read / MEGABYTE / seconds, "records/s": count / seconds}
    text = f"{sum(source.num_examples for source in opened)} examples"
    if batch_size:
        steps = jax.process_count() * rates["records/s"] / batch_size
        text += f"; one reading thread feeds {steps:.1f} steps a second"
    prints = {f"set {place + 1}": source.fingerprint for place, source in enumerate(opened)}
    return Found(text, rates, {"data": prints})


def working_directory(directory: Path) -> Found:
    """Writes a file, reads it, and looks for those of the other processes."""
    try:
        paths.make(directory)
        content = np.random.default_rng(0).bytes(WRITTEN)
        own = _mark(directory, jax.process_index())
        start = time.monotonic()
        own.write_bytes(content)
        written = time.monotonic()
        if own.read_bytes() != content:
            raise UserError(f"{own} does not hold what was written; choose another --workdir")
        read = time.monotonic()
    except OSError as error:
        raise UserError(
            f"--workdir {directory}: {error.strerror or error}; make room, make it writable, or "
            "choose another place"
        ) from None
    if jax.process_count() > 1:
        coordination.wait_for_all("doctor/written")
    missing = [n for n in range(jax.process_count()) if not _mark(directory, n).exists()]
    if jax.process_count() > 1:
        coordination.wait_for_all("doctor/seen")
    own.unlink()
    if missing:
        raise UserError(
            f"--workdir {directory}: what process {missing[0]} wrote is not seen here; give a "
            "place that all hosts see: a shared file system, or gs://BUCKET/PLACE"
        )
    megabytes = WRITTEN / MEGABYTE
    rates = {
        "MiB/s written": megabytes / max(written - start, 1e-9),
        "MiB/s read": megabytes / max(read - written, 1e-9),
    }
    return Found("written, read and seen by all", rates)


def _mark(directory, number):
    return directory / f".doctor_{number}"


def space(directory: Path, config: ConfigDict | None) -> Found:
    """Whether the checkpoints of a run have room."""
    if paths.scheme_of(directory):
        return Found("a bucket has no limit")
    there = next(p for p in [directory, *directory.absolute().parents] if p.exists())
    free = shutil.disk_usage(there).free
    wanted, why = SPARE, "a run with --config would say how much it needs"
    if config is not None:
        one = _checkpoint_bytes(config)
        wanted = one * (config.checkpoint.keep + 2)  # the best, and the one being written
        why = f"{config.checkpoint.keep + 2} checkpoints of {_size(one)}"
    if free < wanted:
        raise UserError(
            f"{_size(free)} are free at {there}, and {_size(wanted)} are wanted ({why}); "
            "make room, or choose another --workdir"
        )
    return Found(f"{_size(free)} are free, {_size(wanted)} are wanted ({why})")


def _checkpoint_bytes(config):
    model = experiment.open_basis(config).model
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    values = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    kept = 3 + bool(config.optim.ema_decay)  # parameters, two moments, the running mean
    return np.dtype(np.float32).itemsize * values * kept


def _size(count):
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / MEGABYTE:.1f} MiB"


def of(config: ConfigDict | None, data_directory: str | None, directory: str | None) -> list[Check]:
    """Returns the checks for what is given: a configuration, a data set, a working directory."""
    found = [
        Check("devices", devices, "end what else uses them on this machine"),
        Check("versions", versions, "look at the disk on which Python is installed"),
        Check(
            "collective",
            collective,
            "open all ports between the hosts; with several network cards name the right one "
            "(NCCL_SOCKET_IFNAME)",
        ),
    ]
    if config is not None:
        slow = "the disk of the data, or of the weights, does not answer"
        found.insert(2, Check("configuration", lambda: configuration(config), slow))
    if data_directory or config is not None:
        opened = _sources(config, data_directory)
        size = config.batch_size if config is not None else None
        stuck = "the disk or the bucket of the data does not answer"
        found.append(Check("data", lambda: data(opened, batch_size=size), stuck))
    if directory:
        place = paths.of(directory)
        stuck = "the disk or the bucket of --workdir does not answer"
        found.append(Check("working directory", lambda: working_directory(place), stuck))
        found.append(Check("free space", lambda: space(place, config), stuck))
    return found


def _sources(config, directory):
    def opened():
        if directory:
            names = store.read_meta(directory)["splits"]
            return [sources.open_prepared(directory, split=name) for name in names]
        return [source for source, _ in experiment.open_sources(config)]

    return opened
