"""Did the policy look where the answer is? For rows whose source marks a target region on the first picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medeyes_verl.data.row import Region
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.trace import EpisodeTrace

HIT_IOU = 0.5
"""From this IoU on a gaze has hit its target: the usual threshold for detections."""


@dataclass(frozen=True, slots=True)
class Grounding:
    """How well the best gaze of an episode meets a target; the best is that of the highest IoU. 0 without a gaze."""

    iou: float
    """Intersection over union."""
    hit: float
    """1 from an IoU of 0.5 on."""
    pointing: float
    """1 when the gaze's centre lies in the target (the pointing game), whatever the sizes."""
    dice: float
    """2 · shared area / sum of areas."""
    coverage: float
    """Share of the target inside the gaze. High for a gaze at everything: read it beside the IoU."""


def grounding(trace: EpisodeTrace, regions: Sequence[Region]) -> Grounding | None:
    """Of one episode; None where no target is marked. Gazes on other pictures than the first count for nothing."""
    targets = [region.box for region in regions if region.target]
    if not targets:
        return None
    gazes = [box for box, image in zip(trace.boxes, trace.images, strict=True) if image == 1]
    pairs = [(gaze.iou(target), gaze, target) for gaze in gazes for target in targets]
    if not pairs:
        return Grounding(0.0, 0.0, 0.0, 0.0, 0.0)
    iou, gaze, target = max(pairs, key=lambda pair: pair[0])
    return Grounding(
        iou=iou,
        hit=float(iou >= HIT_IOU),
        pointing=float(_holds_centre(target, gaze)),
        dice=2 * iou / (1 + iou),
        coverage=gaze.intersection(target).area / target.area if target.area else 0.0,
    )


def _holds_centre(target: Box, gaze: Box) -> bool:
    x, y = (gaze.x1 + gaze.x2) / 2, (gaze.y1 + gaze.y2) / 2
    return target.x1 <= x < target.x2 and target.y1 <= y < target.y2
