"""Weights files: every format read, nothing in them run, writing that cannot tear."""

import argparse
import json
import os
import pickle
import resource
import stat
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ninefold.core import msgpack
from ninefold.core.errors import Failed, Refused
from ninefold.core.weights import read_weights, write_weights

A, B = torch.arange(6.0).reshape(2, 3), torch.tensor([1, 2], dtype=torch.int64)


def same(tensors: dict[str, Tensor]) -> bool:
    return tensors.keys() == {"a", "b"} and tensors["a"].equal(A) and tensors["b"].equal(B)


# ------------------------------------------------------------------------------- formats


def test_safetensors_come_back_with_their_metadata(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", {"a": A, "b": B}, {"classes": '["x"]'})
    file = read_weights(tmp_path / "w.safetensors")
    assert same(file.tensors)
    assert file.metadata == {"classes": '["x"]'}


@pytest.mark.parametrize("wrapper", ["", "model", "state_dict", "model_state_dict", "model_ema"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pth.tar"])
def test_a_pickled_state_dict_is_found_in_its_wrapper(
    tmp_path: Path, wrapper: str, suffix: str
) -> None:
    content: Any = {"module.a": A, "module.b": B}
    if wrapper:
        settings = argparse.Namespace(lr=0.1)
        content = {wrapper: content, "epoch": 3, "optimizer": {"state": {0: A}}, "args": settings}
    torch.save(content, tmp_path / f"w{suffix}")
    assert same(read_weights(tmp_path / f"w{suffix}").tensors)


def test_the_old_pickle_format_is_read(tmp_path: Path) -> None:
    torch.save({"a": A, "b": B}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert same(read_weights(tmp_path / "w.pth").tensors)


def test_a_state_dict_that_holds_itself_does_not_hang(tmp_path: Path) -> None:
    content: dict[str, Any] = {"a": A, "b": B}
    content["model"] = content
    torch.save(content, tmp_path / "w.pth")
    assert same(read_weights(tmp_path / "w.pth").tensors)


@pytest.mark.parametrize("prefix", ["", "opt/target/", "params/"])
def test_npz_is_read_without_the_prefix_of_other_releases(tmp_path: Path, prefix: str) -> None:
    arrays = {f"{prefix}a": A.numpy(), f"{prefix}b": B.numpy().astype(">i8")}
    np.savez(tmp_path / "w.npz", **arrays)
    assert same(read_weights(tmp_path / "w.npz").tensors)


def test_an_npz_of_python_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(Refused, match=r"w\.npz: damaged"):
        read_weights(tmp_path / "w.npz")


# ------------------------------------------------------------------------------- msgpack


def pack(value: Any) -> bytes:
    """What flax writes, by the msgpack specification (the forms of its sizes chosen by size)."""
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int() if 0 <= value < 128:
            return bytes([value])
        case int():
            return b"\xd3" + struct.pack(">q", value)
        case float():
            return b"\xcb" + struct.pack(">d", value)
        case str():
            raw = value.encode()
            head = bytes([0xA0 | len(raw)]) if len(raw) < 32 else b"\xd9" + bytes([len(raw)])
            return head + raw
        case bytes():
            return b"\xc6" + struct.pack(">I", len(value)) + value
        case list() | tuple():
            return bytes([0x90 | len(value)]) + b"".join(pack(v) for v in value)
        case dict():
            items = b"".join(pack(k) + pack(v) for k, v in value.items())
            return b"\xde" + struct.pack(">H", len(value)) + items
        case Tensor():
            name = str(value.dtype).removeprefix("torch.")
            raw = value.contiguous().view(torch.uint8).numpy().tobytes()
            body = pack([list(value.shape), name, raw])
            return b"\xc9" + struct.pack(">I", len(body)) + b"\x01" + body
    raise AssertionError(value)


def test_a_flax_train_state_gives_its_target(tmp_path: Path) -> None:
    state = {
        "global_step": 300,
        "optimizer": {"state": {"m": {"a": A}}, "target": {"enc": {"a": A}, "b": B}},
        "rng": torch.tensor([1, 2]),
        "accum_train_time": 1.5,
        "model_state": None,
    }
    (tmp_path / "w.msgpack").write_bytes(pack(state))
    tensors = read_weights(tmp_path / "w.msgpack").tensors
    assert tensors.keys() == {"enc/a", "b"}
    assert tensors["enc/a"].equal(A)
    assert tensors["b"].equal(B)


def test_msgpack_joins_chunks_and_reads_bfloat16_scalars_and_empty_arrays() -> None:
    cut = {
        "__msgpack_chunked_array__": True,
        "shape": {"0": 2, "1": 3},
        "chunks": {"0": A.flatten()[:4], "1": A.flatten()[4:]},
    }
    value = msgpack.decode(
        pack({"a": cut, "h": A.to(torch.bfloat16), "e": torch.empty(0, 3, dtype=torch.int64)})
    )
    assert value["a"].equal(A)
    assert value["h"].equal(A.to(torch.bfloat16))
    assert value["e"].shape == (0, 3)
    assert value["e"].dtype == torch.int64


def test_msgpack_agrees_with_the_reference_encoder_on_every_plain_type() -> None:
    encoder = pytest.importorskip("msgpack")
    values: list[Any] = [0, 127, 128, 2**16, 2**32, 2**63, -1, -33, -(2**15), -(2**40), 1.5, None,
                         True, False, "x" * 40, "y" * 300, b"z" * 70_000, list(range(20)),
                         {str(i): i for i in range(70_000)}]  # fmt: skip
    for value in values:
        assert msgpack.decode(encoder.packb(value)) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pack({"a": A})[:-1],
        pack({"a": A}) + b"\x00",
        b"\xc1",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 10_000,
        b"\xd4\x05\x00",
        pack({"a": [1]})[:3] + b"\x01\x01",
        b"\xc7\x05\x01" + b"\x93\x91\x05\xa1f",
        b"\xc7\xff\x01" * 5_000,
        pack({"__msgpack_chunked_array__": True, "shape": {"0": 1}, "chunks": {"0": 7}}),
        pack({"__msgpack_chunked_array__": True, "shape": {"0": 7}, "chunks": {"0": A}}),
        pack({"__msgpack_chunked_array__": True}),
    ],
)
def test_malformed_msgpack_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.msgpack").write_bytes(data)
    with pytest.raises(Refused, match=r"w\.msgpack: damaged") as caught:
        read_weights(tmp_path / "w.msgpack")
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------- malice and damage


class Trap:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class Shell:
    """An object whose unpickling runs a command."""

    def __reduce__(self) -> Any:
        return os.system, ("touch sprung",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors", ".npz", ".msgpack"])
@pytest.mark.parametrize("how", ["torch", "pickle", "shell"])
def test_a_malicious_pickle_is_refused_and_never_run(tmp_path: Path, suffix: str, how: str) -> None:
    trap, path = tmp_path / "sprung", tmp_path / f"w{suffix}"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"a": Trap(trap)}))
    else:
        torch.save({"model": {"a": A}, "x": Shell() if how == "shell" else Trap(trap)}, path)
    with pytest.raises(Refused) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not trap.exists()


def test_the_refusal_names_what_the_pickle_asked_for(tmp_path: Path) -> None:
    torch.save({"a": Shell()}, tmp_path / "w.pth")
    with pytest.raises(Refused, match=r"it asks for posix\.system\); nothing in it was run"):
        read_weights(tmp_path / "w.pth")


def header(tensors: dict[str, Any], size: int | None = None, body: bytes = b"\0" * 24) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not safetensors at all", id="text"),
        pytest.param(header({}, size=2**40), id="huge header"),
        pytest.param(
            header({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]},
                    "b": {"dtype": "F32", "shape": [3], "data_offsets": [12, 24]}}),
            id="overlapping offsets",
        ),
        pytest.param(
            header({"a": {"dtype": "F32", "shape": [60], "data_offsets": [0, 240]}}),
            id="offsets beyond the end",
        ),
        pytest.param(
            header({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 24]}}),
            id="shape beyond all memory",
        ),
        pytest.param(
            header({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}}, body=b"\0" * 20),
            id="truncated",
        ),
    ],
)  # fmt: skip
def test_broken_safetensors_are_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(Refused, match=r"w\.safetensors: damaged") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz", ".msgpack"])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, suffix: str) -> None:
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"a": A, "b": B}, whole)
    elif suffix == ".npz":
        np.savez(whole, a=A.numpy(), b=B.numpy())
    elif suffix == ".msgpack":
        whole.write_bytes(pack({"a": A, "b": B}))
    else:
        save_file({"a": A, "b": B}, whole)
    data = whole.read_bytes()
    for length in range(0, len(data), max(1, len(data) // 20)):
        path.write_bytes(data[:length])
        with pytest.raises(Refused):
            read_weights(path)


def test_paths_that_are_no_weights_are_refused_with_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "w.onnx").write_bytes(b"x")
    for path, what in [
        (tmp_path / "none.pth", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "w.onnx", ".onnx is no format"),
    ]:
        with pytest.raises(Refused, match=what) as caught:
            read_weights(path)
        assert ".safetensors .pth" in str(caught.value)
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(Refused, match="holds no tensors"):
        read_weights(tmp_path / "w.pth")
    torch.save([A], tmp_path / "w.pth")
    with pytest.raises(Refused, match="holds a list, not a state dict"):
        read_weights(tmp_path / "w.pth")


# ------------------------------------------------------------------------------- the hub


def test_a_file_in_the_cache_of_the_hub_is_read_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    snapshot = tmp_path / "models--org--repo" / "snapshots" / ("0" * 40)
    (snapshot / "sub").mkdir(parents=True)
    (tmp_path / "models--org--repo" / "refs").mkdir()
    (tmp_path / "models--org--repo" / "refs" / "main").write_text("0" * 40)
    save_file({"a": A, "b": B}, snapshot / "sub" / "w.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert same(read_weights("hf://org/repo/sub/w.safetensors").tensors)


@pytest.mark.parametrize("offline", [True, False])
def test_a_file_that_is_not_in_the_cache_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(Refused, match=r"repo/w\.safetensors: neither in the") as caught:
        read_weights("hf://org/repo/w.safetensors")
    assert "\n" not in str(caught.value)
    with pytest.raises(Refused, match="the form is hf://org/repo/file"):
        read_weights("hf://org/repo")


# ------------------------------------------------------------------------------- writing


def test_tensors_that_share_memory_are_each_written_whole(tmp_path: Path) -> None:
    big = torch.arange(100.0)
    tensors = {"whole": big, "again": big, "part": big[10:20], "turned": A.T, "none": A[:0]}
    write_weights(tmp_path / "w.safetensors", tensors)
    back = read_weights(tmp_path / "w.safetensors").tensors
    assert all(back[name].equal(value) for name, value in tensors.items())
    assert (tmp_path / "w.safetensors").stat().st_size < 2000


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_of_the_file_follows_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_weights(tmp_path / "w.safetensors", {"a": A})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "w.safetensors").stat().st_mode) == mode


def test_a_full_disk_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, {"a": A, "b": B})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(Failed, match=r"w\.safetensors: could not be written .*400,000 bytes"):
            write_weights(path, {"a": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert same(read_weights(path).tensors)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_folder_that_is_missing_fails_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="could not be written") as caught:
        write_weights(tmp_path / "none" / "w.safetensors", {"a": A})
    assert "\n" not in str(caught.value)
