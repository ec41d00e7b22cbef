"""Targets by name, what libtpu needs offline, and a table of chips that can be edited."""

import os

import pytest

from jaxvl.errors import UserError
from jaxvl.plan import chips, targets

KINDS = chips.read().compilers


def test_a_target_has_a_kind_and_a_shape():
    assert targets.parse("v5p:2x2x4", KINDS) == ("v5p:2x2x4", "v5p", (2, 2, 4), "tpu")
    assert targets.parse("v5e:4x4", KINDS).count == 16
    assert targets.parse("h100:8", KINDS) == ("h100:8", "h100", (8,), "cpu")


@pytest.mark.parametrize(
    "name, message",
    [
        ("v9:4x4", "--on v9:4x4: 'v9' is not one of v5e, v6e, v5p, h100, a100, cpu"),
        ("v5e:16", "this is not v5e and a number of chips, as v5e:4x4 or v5e:2x2x2"),
        ("v5e:0x4", "this is not v5e"),
        ("h100:8x8", "this is not h100 and a number of chips, as h100:8"),
        ("h100", "this is not h100"),
    ],
)
def test_a_target_that_cannot_be_is_named(name, message):
    with pytest.raises(UserError) as error:
        targets.parse(name, KINDS)
    assert message in str(error.value)


def test_without_libtpu_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(targets, "is_installed", lambda: False)
    with pytest.raises(UserError, match=r"--on v5e:4x4: .* needs libtpu: pip install 'jaxvl\[plan"):
        targets.devices_of("v5e:4x4")


@pytest.mark.skipif(not targets.is_installed(), reason="libtpu is not installed: jaxvl[plan]")
def test_slices_have_devices_and_hosts_though_no_such_chip_is_here():
    before = dict(os.environ)
    devices = targets.devices_of("v5e:4x4")
    assert len(devices) == 16 and devices[0].device_kind == "TPU v5 lite"
    assert len({device.process_index for device in devices}) == 4
    assert dict(os.environ) == before  # or a process started from here takes itself for a TPU host
    with pytest.raises(
        UserError, match="--on v5e:3x3: libtpu knows no such slice: .*not divisible"
    ):
        targets.devices_of("v5e:3x3")


def test_every_chip_of_the_table_can_be_read():
    table = chips.read()
    assert table.chips["v5e"].peak_bf16 == 197e12 and table.dated
    assert 0 < min(table.reached) and max(table.reached) <= 1


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("price = 1.20", "price = -1", "v5e.price=-1 is not a positive number"),
        ("price = 1.20", "prize = 1.20", "a key is missing or unknown: .*prize"),
        ("price = 1.20", "", "a key is missing or unknown: .*price"),
        ("price = 1.20", "price =", "Invalid value"),
        ('on = "tpu"\npeak_bf16 = 197', 'on = "fpga"\npeak_bf16 = 197', "v5e.on='fpga' is not tpu"),
    ],
)
def test_a_table_with_a_mistake_is_refused(tmp_path, old, new, message):
    text = chips.TABLE.read_text()
    assert old in text
    (tmp_path / "chips.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=f"--chips .*chips.toml: .*{message}"):
        chips.read(tmp_path / "chips.toml")
    with pytest.raises(UserError, match="--chips .*: .*No such file"):
        chips.read(tmp_path / "none.toml")
