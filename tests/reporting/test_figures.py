"""What a picture must not do: hide one name under another."""

import numpy as np

from workbench.evaluation import Interval
from workbench.reporting.figures import tradeoff


def test_no_name_lies_on_another_or_beyond_the_axes_however_close_the_marks():
    rng = np.random.default_rng(0)
    for spread in (0.3, 0.03, 0.003):
        marks = [(f"model {i}", Interval(x, x, x, 9), Interval(y, y, y, 9)) for i, (x, y) in enumerate(0.5 + spread * rng.random((9, 2)))]
        far = ("far away", Interval(1.0, 1.0, 1.0, 9), Interval(0.0, 0.0, 0.0, 9))
        (axes,) = tradeoff([*marks, far], "coverage", "accuracy").figure.axes
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
        assert len(boxes) >= (10 if spread == 0.3 else 6)
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
