"""bfloat16 where it is fast, float32 elsewhere, and what was chosen said in a line."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from mmdiff import precision
from mmdiff.precision import Precision, explain, resolve

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def fresh() -> None:
    precision._processor_multiplies_bfloat16.cache_clear()


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that says it has the instructions, whatever this one is."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
@pytest.mark.parametrize(("asked", "dtype"), [("bf16", torch.bfloat16), ("no", torch.float32)])
def test_what_is_asked_for_decides(asked: Precision, dtype: torch.dtype, device: str) -> None:
    assert resolve(asked, torch.device(device)) == dtype
    assert explain(asked, torch.device(device)).endswith(f"the precision asked for is {asked!r}")


def test_an_unknown_one_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown precision 'fp16': choose one of 'auto', 'bf16'"):
        resolve("fp16", CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize("fast", [torch.bfloat16, torch.float32])
def test_the_faster_product_decides(
    fast: torch.dtype, able: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_seconds", lambda x: 1.0 if x.dtype == fast else 2.0)
    assert resolve("auto", CPU) == fast
    verb = "multiplies" if fast == torch.bfloat16 else "does not multiply"
    name = str(fast).removeprefix("torch.")
    assert explain("auto", CPU) == f"{name}, because this processor {verb} bfloat16 in hardware"


def test_it_is_timed_once_and_leaves_the_threads_as_they_were(
    able: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = []
    monkeypatch.setattr(precision, "_seconds", lambda x: timed.append(x) or len(timed))
    threads = torch.get_num_threads()
    assert resolve("auto", CPU) == resolve("auto", CPU) == torch.bfloat16
    assert (len(timed), torch.get_num_threads()) == (2, threads)


def test_without_instructions_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)  # as on torch without them
    monkeypatch.delattr(precision, "_seconds")
    assert resolve("auto", CPU) == torch.float32


def test_limits_of_torchs_instructions_count() -> None:
    """They make a laptop's processor of any, for torch's kernels but not for what it says."""
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    code = "import torch, mmdiff.precision as p; print(p.resolve('auto', torch.device('cpu')))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | limits,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "torch.float32"


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_says_what_it_has(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulation, which torch counts as support by default, is slow."""

    def is_supported(including_emulation: bool = True) -> bool:
        return including_emulation or supported

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    assert resolve("auto", CUDA) == (torch.bfloat16 if supported else torch.float32)
    assert "this GPU" in explain("auto", CUDA)


def test_other_devices_have_float32() -> None:
    reason = "float32, because this mps device does not multiply bfloat16 in hardware"
    assert explain("auto", torch.device("mps")) == reason
