"""Every statistical detector, by name, in the order in which its evidence is listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from pydantic import Field

from detectors.base import Detector, Params
from detectors.drift.adwin import Adwin, AdwinParams
from detectors.drift.ddm import Ddm, DdmParams
from detectors.drift.glr import Glr, GlrParams
from detectors.drift.hddm import Hddm, HddmParams
from detectors.drift.kswin import Kswin, KswinParams
from detectors.drift.page_hinkley import PageHinkley, PageHinkleyParams
from detectors.outlier.robust_z import RobustZ, RobustZParams

DETECTORS: Final[dict[str, Callable[[Any], Detector]]] = {
    "glr": Glr,
    "adwin": Adwin,
    "page_hinkley": PageHinkley,
    "ddm": Ddm,
    "hddm": Hddm,
    "kswin": Kswin,
    "robust_z": RobustZ,
}


class DetectorsParams(Params):
    """Parameters of every registered detector; the field names are those of the registry."""

    glr: GlrParams = GlrParams()
    adwin: AdwinParams = AdwinParams()
    page_hinkley: PageHinkleyParams = PageHinkleyParams()
    ddm: DdmParams = DdmParams()
    hddm: HddmParams = HddmParams()
    kswin: KswinParams = KswinParams()
    robust_z: RobustZParams = RobustZParams()
    beside: tuple[str, ...] = Field(
        default=(), description="Detectors that run beside the GLR, by name; it always runs."
    )


def make(params: DetectorsParams) -> Sequence[Detector]:
    """The GLR, and the detectors that run beside it in registry order."""
    return [
        new(getattr(params, name))
        for name, new in DETECTORS.items()
        if name == Glr.name or name in params.beside
    ]
