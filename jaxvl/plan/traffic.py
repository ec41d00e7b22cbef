"""What a chip reads from and writes to its memory in a step, read from the compiled program."""

from collections.abc import Iterator

from jaxvl.plan import hlo
from jaxvl.plan.collectives import KINDS

# Names of other results, and the ends of what counts where it starts.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota"),
    *("while", "conditional", "call", "async-start", "async-update", "async-done", "copy-done"),
    *("slice-done", "partition-id", *(f"{kind}-done" for kind in KINDS)),
}
_SLICES = ("dynamic-slice", "slice", "gather")


def traffic(module: hlo.Module) -> float:
    """Returns the bytes of a step, an estimate: what each instruction takes and gives.

    Arrays in the chip's own fast memory do not count. Where an instruction takes or changes a slice
    of an array, the slice counts.
    """
    total = 0

    def visit(computation: hlo.Computation, times: int) -> None:
        nonlocal total
        for line in computation.values():
            if line.opcode not in _FREE:
                total += times * (_read(module, computation, line) + _written(module, line))

    hlo.walk(module, visit, through_fusions=False)
    return float(total)


def _read(module, computation, line):
    sizes = [sum(hlo.sizes_in_memory(computation[name].type)) for name in line.operands]
    if line.opcode in _SLICES:
        return sum(hlo.sizes_in_memory(line.type))
    if line.opcode == "dynamic-update-slice":
        return sizes[1]
    if line.opcode != "fusion":
        return sum(sizes)
    body = module.computations[line.called[0]]
    parameters = {int(one.arguments): one for one in body.values() if one.opcode == "parameter"}
    return sum(
        min(size, _taken(body, parameters[place])) if size else 0
        for place, size in enumerate(sizes)
    )


def _taken(body, parameter):
    """Returns the bytes of a parameter that the inside of a fusion reads."""
    total = 0
    for user in _users(body, parameter.name):
        if user.opcode in _SLICES:
            total += hlo.size_of(user.type)
        elif user.opcode != "dynamic-update-slice" or user.operands[0] != parameter.name:
            return hlo.size_of(parameter.type)
    return total


def _users(body: hlo.Computation, name: str) -> Iterator[hlo.Instruction]:
    for line in body.values():
        if name in line.operands:
            if line.opcode == "bitcast":
                yield from _users(body, line.name)
            else:
                yield line


def _written(module, line):
    sizes = hlo.sizes_in_memory(line.type)
    if line.opcode != "fusion":
        return 0 if line.opcode == "dynamic-update-slice" else sum(sizes)
    body = module.computations[line.called[0]]
    root = next(one for one in body.values() if one.is_root)
    results = [body[name] for name in root.operands] if root.opcode == "tuple" else [root]
    return sum(
        min(size, _changed(body, result)) if size else 0 for size, result in zip(sizes, results)
    )


def _changed(body, result):
    while result.opcode == "bitcast":
        result = body[result.operands[0]]
    if result.opcode == "dynamic-update-slice":
        return hlo.size_of(body[result.operands[1]].type)
    return hlo.size_of(result.type)
