"""Record what is estimated from fixed synthetic heads, so that no change of it goes unseen.

    python pipelines/renew_baseline.py

`tests/robustness/test_regression.py` repeats these fits and fails when a number moves by more than
a millionth. Where a change is meant to move them: check accuracy with
`pipelines/evaluate_accuracy.py`, run this, and commit ``data/regression_baseline.json`` with the
change, saying in the message what moved and why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from brainseg.config import SegmentConfig
from brainseg.core.known import Known
from brainseg.evaluation.phantom import Phantom, make_phantom
from brainseg.io.derivatives import to_json, versions
from brainseg.pipeline import segment_volume

BASELINE = Path(__file__).resolve().parents[1] / "data" / "regression_baseline.json"
# The whole path once; then, cheaply, the fits that other options lead to.
CASES: dict[str, dict[str, str]] = {
    "defaults": {},
    "given mask, no atlas": {"mask": "file", "prior": "tied", "tissues": "intensity"},
    "maximum likelihood": {"mask": "file", "prior": "none", "bias": "none", "tissues": "intensity"},
    "three tissues, N4": {"mask": "file", "prior": "tied", "tissues": "three", "bias": "n4"},
}


def head() -> Phantom:
    """Make the head that all cases share."""
    return make_phantom(zooms=(4.0, 4.0, 4.0), noise=4.0, bias=30.0, seed=11)


def estimate(head: Phantom, options: dict[str, str]) -> dict[str, Any]:
    """Segment the head and return every parameter that was estimated."""
    config = SegmentConfig(**options)  # type: ignore[arg-type]
    volume = head.volume.with_data(head.volume.data.astype(np.float32, order="C"))
    result = segment_volume(
        volume, config, known=Known(head.mask if config.mask == "file" else None)
    )
    mixture = result.fit.mixture
    return {
        "mask_ml": float(np.count_nonzero(result.mask) * volume.voxel_volume),
        "weights": np.asarray(mixture.weights_).tolist(),
        "means": np.asarray(mixture.means_).tolist(),
        "covariances": np.asarray(mixture.covariances_).tolist(),
        "log_likelihood": float(mixture.history_[-1]),
        "volumes_ml": list(result.volumes_ml.values()),
    }


def main() -> None:
    """Write the baseline."""
    common = head()
    content = {
        "what": "Parameters estimated from a synthetic head (brainseg.phantom, no person's scan)",
        "recipe": "pipelines/renew_baseline.py",
        "licence": "Apache-2.0",
        "versions": versions(),
        "cases": {
            name: {"options": options, "estimates": estimate(common, options)}
            for name, options in CASES.items()
        },
    }
    BASELINE.write_text(to_json(content), encoding="utf-8")
    print(json.dumps({k: v["estimates"]["volumes_ml"] for k, v in content["cases"].items()}))


if __name__ == "__main__":
    main()
