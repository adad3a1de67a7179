"""Tensors and a description in one checked file.

A safetensors file whose header carries a JSON description and the SHA-256 of the whole file (taken
with zeros in the digest's own place), so that any cut or changed byte is found. Nothing in it is
executed: no pickle. Equal contents give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from safetensors.torch import load as parse_tensors
from safetensors.torch import save as pack_tensors
from torch import Tensor

from mmdiff.errors import UserError
from mmdiff.files import written_aside

FORMAT = 1

_KEY = "mmdiff"  # the one entry of the header's metadata
_NO_DIGEST = "0" * 64
# Inside the header the description is a JSON string, so that its quotes are escaped.
_DIGEST = re.compile(rb'(?<=\\"sha256\\": \\")[0-9a-f]{64}(?=\\")')


def write(path: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write contiguous CPU `tensors` and a `description` that JSON can hold, or nothing."""
    text = json.dumps({"sha256": _NO_DIGEST, "format": FORMAT, **description})
    data = bytearray(pack_tensors(tensors, {_KEY: text}))
    found = _DIGEST.search(data, 0, _header_end(data))
    assert found is not None  # the zeros, which what follows puts the digest in place of
    data[slice(*found.span())] = _sha256(data).encode()
    with written_aside(path) as aside:
        aside.write_bytes(data)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description, if every byte of the file is as it was written.

    Raises:
        UserError: a missing, cut, changed or foreign file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    header = _header(path, data)
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or _KEY not in metadata:
        raise UserError(f"{path} is a safetensors file, but not one that mmdiff wrote.")
    end = _header_end(data)
    found = _DIGEST.search(data, 0, end)
    blank = _DIGEST.sub(_NO_DIGEST.encode(), data[:end], count=1)
    if found is None or _sha256(blank, memoryview(data)[end:]) != found.group().decode():
        raise UserError(f"{path} is damaged (its checksum is wrong): get or make it again.")
    description: dict[str, Any] = json.loads(metadata[_KEY])
    del description["sha256"]
    if description.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {description.get('format')}, this mmdiff reads {FORMAT}: "
            "use the version of mmdiff that wrote it."
        )
    return parse_tensors(data), description


def _header(path: Path, data: bytes) -> dict[str, Any]:
    if len(data) < 8 or _header_end(data) > len(data):
        # Only now: a sound file's length may well begin with the byte that begins a pickle.
        if data[:2] == b"PK" or data[:1] == b"\x80":
            raise UserError(
                f"{path} is a pickle, which mmdiff never opens: it reads .safetensors only."
            )
        raise UserError(f"{path} is cut short, or is no safetensors file: get or make it again.")
    try:
        header = json.loads(data[8 : _header_end(data)])
    except (UnicodeDecodeError, json.JSONDecodeError):
        header = None
    if not isinstance(header, dict):
        raise UserError(f"{path} is no safetensors file, or is damaged: get or make it again.")
    return header


def _header_end(data: bytes | bytearray) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def _sha256(*parts: bytes | bytearray | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
