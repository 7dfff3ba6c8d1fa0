"""The defects of veRL that the plugin patches are still there. When one of these fails, delete the patch it names."""

import pytest
import torch
from tensordict import TensorDict
from transfer_queue.storage.managers.simple_storage_manager import AsyncSimpleStorageManager

ROWS = [torch.arange(4 * 7).view(4, 7) + 100 * row for row in range(3)]


def packed_by_transfer_queue(rows):
    """M-RoPE position ids, (4, L) a row, as they come back from TransferQueue's storage."""
    return TensorDict({"position_ids": AsyncSimpleStorageManager._pack_field_values(rows)}, batch_size=[len(rows)])


def packed_along_the_sequence(data, rows):
    """Whether the model would see each token's four position ids: values (4, total length)."""
    return torch.equal(data["position_ids"].values(), torch.cat(rows, dim=1))


def test_position_ids_of_equal_length_are_packed_along_the_wrong_axis(pristine):
    data = packed_by_transfer_queue(ROWS)
    pristine("verl.utils.tensordict_utils").maybe_fix_3d_position_ids(data)
    assert not packed_along_the_sequence(data, ROWS), "mended upstream: delete plugin/upstream_position_ids.py"


@pytest.mark.parametrize("lengths", [(7, 7, 7), (5, 7, 6), (4, 4, 4)])
def test_our_patch_packs_position_ids_along_the_sequence(lengths):
    from medeyes_verl.plugin import upstream_position_ids

    rows = [torch.arange(4 * length).view(4, length) + 100 * row for row, length in enumerate(lengths)]
    data = packed_by_transfer_queue(rows)
    upstream_position_ids.upstream.maybe_fix_3d_position_ids(data)
    assert packed_along_the_sequence(data, rows)
    assert all(map(torch.equal, data["position_ids"].unbind(), rows))


@pytest.fixture
def one_process(monkeypatch, tmp_path):
    """The environment of a lone worker; no process group is left behind."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DIST_INIT_METHOD", f"file://{tmp_path}/rendezvous")
    assert not torch.distributed.is_initialized()
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def test_backend_of_a_cpu_is_rejected_by_torch(pristine, one_process, monkeypatch):
    distributed = pristine("verl.utils.distributed")
    monkeypatch.setattr(distributed, "get_device_name", lambda: "cpu")
    monkeypatch.setattr(distributed, "get_nccl_backend", lambda: "gloo")
    try:
        distributed.initialize_global_process_group_ray()
    except ValueError as error:
        assert "cpu:gloo,cpu:gloo" in str(error)  # noqa: PT017 (pytest.raises could not say what to do)
    else:
        pytest.fail("mended upstream: delete plugin/cpu/upstream_process_group.py")


def test_our_backend_is_taken_by_torch(pristine, one_process):
    pristine("verl.utils.distributed").initialize_global_process_group_ray(backend="cpu:gloo")
    total = torch.ones(2)
    torch.distributed.all_reduce(total)
    assert total.tolist() == [1.0, 1.0]
