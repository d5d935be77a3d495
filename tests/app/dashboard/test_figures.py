"""What the browser gets: no NaN token, exact steps, float32 as bytes."""

import base64
import json

import numpy as np
import pytest

from app.dashboard.figures import to_json
from app.dashboard.panels.registry import Figure


def encoded(**trace):
    return json.loads(to_json(Figure([trace], {}, "", "")))["data"][0]


def test_float32_travels_as_bytes_with_its_nan():
    values = np.array([[1.5, np.nan], [3.0, -2.0]], dtype=np.float32)
    sent = encoded(z=values)["z"]
    assert sent["dtype"] == "f4"
    assert sent["shape"] == "2, 2"
    read = np.frombuffer(base64.b64decode(sent["bdata"]), dtype="<f4").reshape(2, 2)
    assert np.array_equal(read, values, equal_nan=True)


@pytest.mark.parametrize(("steps", "dtype"), [([0, 2**31 - 1], "<i4"), ([0, 2**53], "<f8"), ([], "<i4")])
def test_steps_stay_exact(steps, dtype):
    sent = encoded(x=np.array(steps, dtype=np.int64))["x"]
    assert np.frombuffer(base64.b64decode(sent["bdata"]), dtype=dtype).tolist() == steps


def test_what_has_no_form_is_refused_and_not_guessed():
    for value, what in ((np.zeros(2, dtype=np.uint32), "uint32"), (object(), "object")):
        with pytest.raises(TypeError) as raised:
            to_json(Figure([{"x": value}], {}, ""))
        assert what in str(raised.value.__cause__)
