"""Where a run takes place: its device, and the other processes that take part."""

from __future__ import annotations

import atexit
import time

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import is_initialized
from accelerate.utils import DistributedType

from mmdiff.errors import UserError

_DIVIDING = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
_PARTING = 0.5  # seconds


def join(device: str) -> Accelerator:
    """This process and the others that were launched with it, on "cpu", "cuda" or "auto".

    Raises:
        UserError: the device is not there, or is not the first one that this process trained on;
            the processes would divide the model.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device here: use --device cpu.")
    if device != "auto" and is_initialized() and PartialState().device.type != device:
        raise UserError(
            "this process has already trained on another device, and accelerate stays with "
            f"the first one: use --device {device} in a new process."
        )
    # Precision is the trainer's own matter: accelerate would fix it for the whole process.
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    accelerator = Accelerator(mixed_precision="no", cpu=on_cpu)
    kind = accelerator.distributed_type
    if kind in _DIVIDING:
        raise UserError(
            f"accelerate is set to {kind.value}, which divides a model among processes; here "
            "each process holds all of it: choose multi_gpu with `accelerate config`."
        )
    if accelerator.num_processes > 1:
        atexit.unregister(_leave)  # once is enough
        atexit.register(_leave)
    return accelerator


def _leave() -> None:
    """Leave the other processes before this one ends.

    Threads of the group that are still at work when the interpreter ends would abort it, and the
    launcher would report a failure of a run that was whole: they are given time to finish.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        time.sleep(_PARTING)
