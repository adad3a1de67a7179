"""Where a run takes place: its device, and the other processes that take part."""

from __future__ import annotations

import atexit
import os
import time

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from mmdiff.devices import choose
from mmdiff.errors import UserError

_DIVIDING = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
_PARTING = 0.5  # seconds


def join(device: str | torch.device) -> tuple[Accelerator, torch.device]:
    """This process and the others that were launched with it, and the device to train on.

    Several processes take a device each, as accelerate gives them out.

    Raises:
        UserError: the device is not there; the processes would divide the model.
    """
    place = choose(device)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    # Precision is the trainer's own matter: accelerate would fix it for the whole process. So is
    # the device of one process: accelerate stays with the first that it is given.
    accelerator = Accelerator(mixed_precision="no", cpu=place.type == "cpu" or not several)
    kind = accelerator.distributed_type
    if kind in _DIVIDING:
        raise UserError(
            f"accelerate is set to {kind.value}, which divides a model among processes; here "
            "each process holds all of it: choose multi_gpu with `accelerate config`."
        )
    if accelerator.num_processes > 1:
        atexit.unregister(_leave)  # once is enough
        atexit.register(_leave)
        place = accelerator.device
    return accelerator, place


def _leave() -> None:
    """Leave the other processes before this one ends.

    Threads of the group that are still at work when the interpreter ends would abort it, and the
    launcher would report a failure of a run that was whole: they are given time to finish.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        time.sleep(_PARTING)
