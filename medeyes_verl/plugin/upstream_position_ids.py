"""Upstream defect: 3-D position ids of rows of one equal length come back packed along the wrong axis.

M-RoPE position ids are (4, L) a row. When every row of a batch has the same L, ``as_nested_tensor`` takes
the 4 as the ragged dimension instead of L, and verl/utils/tensordict_utils.py:915 then only relabels the
ragged axis, so that values and offsets disagree. Here such a batch is rebuilt with L ragged before veRL
sees it. tests/contract fails once veRL does this itself.
"""

from importlib.metadata import version

import verl.utils.tensordict_utils as upstream
from packaging.version import Version
from tensordict import TensorDict

if Version("0.9.0") <= Version(version("verl")) < Version("0.10"):
    _original = upstream.maybe_fix_3d_position_ids

    def _with_ragged_length(data: TensorDict) -> None:
        position_ids = data["position_ids"] if "position_ids" in data.keys() else None  # noqa: SIM118
        if position_ids is not None and position_ids.is_nested and position_ids.dim() == 3:
            values, offsets = position_ids.values(), position_ids.offsets()
            packed_along_mrope_rows = values.shape[0] == int(offsets[-1])
            if packed_along_mrope_rows:
                rows = list(values.split(offsets.diff().tolist()))
                data["position_ids"] = upstream.nested_tensor_from_tensor_list(rows, ragged_idx=2)
                return
        _original(data)

    upstream.maybe_fix_3d_position_ids = _with_ragged_length
