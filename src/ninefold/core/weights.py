"""Files of weights: read from every format that published models come in, written as safetensors.

Nothing in a file is ever run: pickles are read by torch's restricted reader, or not at all.
"""

# The readers of other libraries are untyped; what they give is checked below.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import argparse
import os
import re
import shutil
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from errno import EISDIR
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ninefold.core import msgpack
from ninefold.core.errors import Failed, Refused, printable

_WRAPPERS = ("model", "state_dict", "model_state_dict", "model_ema")
"""Keys under which training scripts keep the weights beside optimizer and settings."""
_PREFIXES = ("module.", "_orig_mod.")
"""What data parallelism and `torch.compile` put before every name."""
_TARGETS = ("optimizer/target/", "opt/target/", "params/")
"""Where flax keeps the weights, beside the state of the optimizer."""


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds.

    Args:
        tensors: By name as in the file, without wrappers; flax names are joined by `/`.
        metadata: The strings of a safetensors header; empty for other formats.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict[str, str])


def read_weights(source: str | Path) -> WeightsFile:
    """Read a file of weights onto the CPU.

    Args:
        source: A `.safetensors`, `.pth`, `.pt`, `.bin`, `.pth.tar`, `.npz` or `.msgpack` file, or
            `hf://org/repo/file` on the Hugging Face hub, whose cache is asked first;
            `hf://org/repo@revision/file` for one branch, tag or commit.

    Raises:
        Refused: no such file, an unknown format, a damaged file, or one that holds more than data.
    """
    path, where = local_file(source), str(source)
    read = _READERS.get(path.suffix.lower())
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        inside = sorted(p.name for p in path.glob("*") if p.suffix.lower() in _READERS)
        what += f" with {', '.join(inside[:3])}" if inside else ""
        raise Refused(f"{where}: {what}; weights are a {' '.join(_READERS)} file or hf://...")
    if read is None:
        raise Refused(f"{where}: {path.suffix or 'no suffix'} is no format of weights that can be "
                      f"read; formats are {' '.join(_READERS)}")  # fmt: skip
    try:
        tensors, metadata = read(path)
    except UnpicklingError as error:
        raise Refused(f"{where}: not read, because it is damaged or holds more than tensors and "
                      f"plain values ({_reason(error)}); nothing in it was run; ask for a plain "
                      "state dict or a .safetensors file") from None  # fmt: skip
    except (SafetensorError, OSError, EOFError, ValueError, KeyError, RuntimeError, MemoryError,
            AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise Refused(f"{where}: damaged, or no {path.suffix} file ({_reason(error)})") from None
    tensors = _stripped(tensors)
    if not tensors:
        raise Refused(f"{where}: holds no tensors")
    return WeightsFile(tensors, metadata)


def local_file(source: str | Path) -> Path:
    """Where a source is on this machine; what is on the hub is fetched unless the cache has it."""
    return _fetch(str(source)) if str(source).startswith("hf://") else Path(source)


def write_weights(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    inside: str = "",
) -> None:
    """Write a file of weights that is either the old one or the whole new one, at any moment.

    Written beside, flushed to the disk, then renamed; readable as the process's umask says. Tensors
    that share memory are each written in full.

    Args:
        path: A safetensors file, unless its name ends in `.pth`: then a pickled state dict; or in
            `.npz`: then an archive of arrays, bfloat16 as float32.
        metadata: For the header of safetensors.
        inside: A key of the pickle below which the state dict stands.

    Raises:
        Failed: the disk is full or the folder cannot be written; the old file stays.
    """
    path = Path(path)
    aside = _aside(path)
    plain = _unshared(tensors)
    try:
        # safetensors makes its own file, readable by the owner alone: the mode is taken from one
        # that the system makes.
        with aside.open("wb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
        if path.suffix == ".pth":
            torch.save({inside: plain} if inside else plain, aside)
        elif path.suffix == ".npz":
            with aside.open("wb") as file:
                np.savez(file, **{name: _array(value) for name, value in plain.items()})
        else:
            save_file(plain, aside, metadata=dict(metadata or {}))
        aside.chmod(mode)
        _flush(aside)
        aside.replace(path)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        size = sum(t.nbytes for t in plain.values())
        raise Failed(f"{path}: could not be written ({_reason(error)}); it needs {size:,} bytes"
                     f"{_room(path.parent)}") from None  # fmt: skip


def check_writable(path: str | Path) -> None:
    """See, before any work, that a file may be written there, by making one beside it for a moment.

    Raises:
        Refused: the folder is not there or may not be written to, or the name is that of a folder.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        aside = _aside(path)
        aside.touch()
        aside.unlink()
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise Refused(
            f"{printable(path)}: cannot be written: {reason}; name another file"
        ) from None


def _aside(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _room(folder: Path) -> str:
    return f" and {shutil.disk_usage(folder).free:,} are free" if folder.is_dir() else ""


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    seen: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().to("cpu").contiguous()
        storage = value.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != value.nbytes:
            value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
        plain[name] = value
    return plain


def _array(value: Tensor) -> Any:
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _reason(error: BaseException) -> str:
    """The first sentence of another library's message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnpicklingError):  # torch's message advises to run the code
        found = re.search(r"GLOBAL:? (\w+(?:\.\w+)+)", text, re.IGNORECASE)
        return f"it asks for {found[1]}" if found else "not a pickle of tensors"
    return text if len(text) <= 160 else text[:157] + "..."


def _fetch(address: str) -> Path:
    """The local copy of a file on the hub; the network is asked only where the cache lacks it."""
    organisation, _, rest = address.removeprefix("hf://").partition("/")
    repository, _, file = rest.partition("/")
    repository, at, revision = repository.partition("@")
    if not (organisation and repository and file) or bool(at) != bool(revision):
        raise Refused(f"{address}: no file on the hub; the form is hf://org/repo/file, or "
                      "hf://org/repo@revision/file")  # fmt: skip
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub import try_to_load_from_cache as cached_path

    name, revision = f"{organisation}/{repository}", revision or "main"
    url = hf_hub_url(name, file, revision=revision)
    try:
        cached = cached_path(name, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        get_hf_file_metadata(url)  # fails at once where a download would retry
        return Path(hf_hub_download(name, file, revision=revision))
    except Exception as error:  # the hub's client raises the errors of three libraries
        raise Refused(
            f"{address}: neither in the local cache of the hub nor to be had from it "
            f"({type(error).__name__}: {_reason(error)}); download {url} where there is a network, "
            "and name that file instead"
        ) from None


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def _read_pickle(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    # DeiT, DETR and YOLOS keep their command line beside the weights: plain attributes. The code of
    # Swin, MoBY and SimMIM keeps its settings, by yacs' name: what is made of them here is a dict.
    known: list[Any] = [argparse.Namespace, (OrderedDict, "yacs.config.CfgNode")]
    with torch.serialization.safe_globals(known), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a newer pickle protocol: what cannot be read is refused
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not a state dict")
    for _ in range(3):  # wrappers nest at most this deep; a file may nest in itself
        inner = [content[w] for w in _WRAPPERS if isinstance(content.get(w), Mapping)]
        content = inner[0] if inner else content
    return {str(k): v for k, v in content.items()}, {}


def _read_npz(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return {k: torch.from_numpy(v.astype(v.dtype.newbyteorder("="))) for k, v in arrays.items()}, {}


def _read_msgpack(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    content = msgpack.decode(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a dictionary")
    return dict(_flat(content, "")), {}


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}/{key}" if name else key)
    else:
        yield name, value


def _stripped(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors only: those of the model, without the prefixes that stand before all of them."""
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)}
    for prefix in _TARGETS:
        chosen = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        tensors = chosen or tensors
    for prefix in _PREFIXES * 2:
        if all(k.startswith(prefix) for k in tensors):
            tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
    return tensors


_READERS: dict[str, Callable[[Path], tuple[dict[str, Any], dict[str, str]]]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_pickle,
    ".pt": _read_pickle,
    ".bin": _read_pickle,
    ".tar": _read_pickle,
    ".npz": _read_npz,
    ".msgpack": _read_msgpack,
}
