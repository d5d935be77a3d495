"""Every page answers, says what is so, and escapes what users gave."""

import base64
import hashlib
import re

import httpx
import numpy as np
import pytest

from app.alerts.base import DETECTORS
from app.dashboard import plotly
from gyrostat.spec.catalogue import STABILIZERS
from gyrostat.spec.data import DATASETS
from gyrostat.spec.metrics import METRICS
from gyrostat.spec.presets import PRESETS
from gyrostat.spec.probes import PROBES
from gyrostat.wire.layout import Layout, MetricDeclaration
from tests.app.control import served
from tests.app.measured import Sender

HOSTILE = "<script>alert('x')</script>\"&' <img src=x onerror=alert(1)> مرحبا שלום"
LAYERS = ("first.weight", "<b>second</b>.weight", "third.weight")


def start(client, **body) -> str:
    answer = client.post("/v1/runs", json={"preset": "digits-mlp", **body} if "attached" not in body else body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def layout(names=LAYERS) -> Layout:
    declared = [
        ("loss.train", "run"),
        ("accuracy.validation", "run"),
        ("gradient.norm", "parameter"),
        ("my.own", "run"),
    ]
    metrics = [MetricDeclaration(name=name, unit="1", axis=axis, description="") for name, axis in declared]
    return Layout(version=1, axes={"parameter": list(names)}, metrics=metrics)


@pytest.fixture
def attached(client, database) -> str:
    """An attached run of 200 steps whose loss falls, with a NaN at step 50."""
    run = start(client, attached=True, name="attached run")
    sender = Sender(database, run)
    sender.layout(layout())
    steps = np.arange(1, 201)
    loss = np.exp(-steps / 100).astype(np.float32)
    loss[49] = np.nan
    sender.frames(
        steps,
        {
            "loss.train": loss,
            "accuracy.validation": 1 - loss,
            "gradient.norm": np.outer(loss, [1e-3, 1e-2, 1e-1]),
            "my.own": steps / 7,
        },
    )
    return run


def page(client, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-store"
    return answer.text


def drawn(client, run: str, panel: str, **query) -> dict:
    answer = client.get(f"/runs/{run}/panels", params={"panel": panel, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()[panel.partition(",")[0]]


def test_where_no_run_matches_the_page_says_so(client):
    text = page(client, "/?project=none-has-this-name")
    assert "No run matches" in text


def test_the_first_page_of_all_offers_every_preset_and_a_command(tmp_path):
    with served(tmp_path) as (_, address), httpx.Client(base_url=address) as client:
        text = page(client, "/")
        assert "Start the first run" in text
        assert all(f"/runs/new?preset={preset}" in text for preset in PRESETS)
        assert f"curl {address}/v1/runs" in text


def test_pages_have_landmarks_a_title_a_skip_link_and_no_inline_script(client, attached):
    for path in ("/", f"/runs/{attached}", "/alerts", "/runs/new", "/catalogue"):
        text = page(client, path)
        for part in (
            "<title>",
            'lang="en"',
            'class="skip-link"',
            '<main id="main"',
            '<nav aria-label="Main"',
            'aria-live="polite"',
        ):
            assert part in text, (path, part)
        scripts = re.findall(r"<script([^>]*)>", text)
        assert all("src=" in script or "application/json" in script for script in scripts)
        assert not re.search(r"\son[a-z]+=", re.sub(r">[^<]*<", "><", text))
        assert len(re.findall(r"<h1", text)) == 1


@pytest.mark.parametrize("field", ["name", "project"])
def test_hostile_names_are_text_on_every_page(client, field):
    run = start(client, **{field: HOSTILE[:100]}, tags=[HOSTILE[:100]])
    for path in ("/", f"/runs/{run}", f"/fragments/runs/{run}", "/fragments/runs"):
        text = page(client, path)
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "&lt;script&gt;alert(&#39;x&#39;)" in text


def test_long_names_are_shown_whole_in_their_title(client):
    name = "ä" * 200
    run = start(client, name=name)
    assert name in page(client, f"/runs/{run}")
    assert f'title="{name}"' in page(client, "/")


def test_filters_restrict_the_list_and_stay_in_the_next_address(client):
    start(client, name="findable needle", project="haystack", tags=["sharp"])
    start(client, name="another", project="haystack")
    text = page(client, "/?project=haystack&tag=sharp")
    assert "findable needle" in text
    assert "another" not in text
    assert 'data-fragment="/fragments/runs?project=haystack&amp;tag=sharp"' in text
    assert "findable needle" in page(client, "/fragments/runs?q=NEEDLE&state=queued")
    assert "findable needle" not in page(client, "/fragments/runs?state=running")


def test_a_long_list_has_pages(client):
    for number in range(27):
        start(client, name=f"paged {number:02}", project="paged")
    text = page(client, "/?project=paged&order=name")
    assert "paged 24" in text
    assert "paged 25" not in text
    following = re.search(r'href="(/\?[^"]*cursor=[^"]*)" rel="next"', text).group(1).replace("&amp;", "&")
    text = page(client, following)
    assert "paged 25" in text
    assert "paged 24" not in text
    assert "First page" in text


def test_what_cannot_be_shown_is_a_page_that_says_so(client):
    assert "There is no" in page(client, "/runs/nosuchrun", 404) or "there is no run" in page(
        client, "/runs/nosuchrun", 404
    )
    assert "order" in page(client, "/?order=sideways", 422)
    assert "cursor" in page(client, "/?cursor=nonsense", 422)
    assert "cursor" in page(client, "/alerts?cursor=nonsense", 422)


def test_the_run_page_shows_the_newest_numbers_panels_and_downloads(client, attached):
    text = page(client, f"/runs/{attached}")
    newest = re.search(r'id="vital-loss-train".*?data-value>([^<]*)<', text, re.DOTALL).group(1)
    assert newest == f"{np.exp(-2):.4f}"
    for panel in ("panel-loss", "panel-accuracy", "panel-gradient-norm", "panel-metric.my.own"):
        assert f'id="{panel}"' in text
    assert 'id="panel-sharpness"' not in text
    assert f"/v1/runs/{attached}/metrics/my.own?format=parquet" in text
    assert "attached from outside" in text
    assert "/static/vendor/plotly-" in text


def test_a_queued_run_shows_the_panels_that_its_spec_promises(client):
    text = page(client, f"/runs/{start(client)}")
    assert "Waiting for a worker." in text
    for panel in ("loss", "accuracy", "gradient-norm", "sharpness", "spectral-norm"):
        assert f'id="panel-{panel}"' in text
    regression = page(client, f"/runs/{start(client, preset='diabetes-mlp')}")
    assert 'id="panel-accuracy"' not in regression


def test_an_attached_run_without_frames_says_that_it_waits(client):
    assert "Nothing measured yet" in page(client, f"/runs/{start(client, attached=True)}")


def test_notes_are_on_the_page_as_text(client):
    text = page(client, f"/runs/{start(client, attached=True, notes='rate: 0.1<b>')}")
    assert re.search(r"<dt>Notes</dt><dd[^>]*>rate: 0.1&lt;b&gt;</dd>", text)


def test_a_panel_reads_as_many_points_as_it_is_wide_and_shows_every_nan(client, attached):
    figure = drawn(client, attached, "loss", points=40, theme="dark")
    curve = next(trace for trace in figure["data"] if trace.get("name") == "train")
    steps = np.frombuffer(base64.b64decode(curve["x"]["bdata"]), dtype="<i4")
    assert 10 <= len(steps) <= 40
    broken = next(trace for trace in figure["data"] if trace.get("name") == "NaN")
    assert len(broken["x"]) == 1
    assert 50 <= broken["x"][0] <= 60
    assert figure["layout"]["xaxis"]["range"][1] > 200
    assert figure["summary"].startswith("train: 0.1")


def test_a_panel_zooms_to_the_steps_asked_for(client, attached):
    figure = drawn(client, attached, "loss", **{"from": 10, "to": 20})
    (curve,) = [trace for trace in figure["data"] if trace.get("name") == "train"]
    assert np.frombuffer(base64.b64decode(curve["x"]["bdata"]), dtype="<i4").tolist() == list(range(10, 21))


def test_several_panels_come_in_one_answer_each_on_the_scale_asked_for(client, attached):
    asked = {"panel": ["loss,linear", "gradient-norm", "metric.my.own,log"]}
    figures = client.get(f"/runs/{attached}/panels", params=asked).json()
    assert list(figures) == ["loss", "gradient-norm", "metric.my.own"]
    assert [figures[slug]["layout"]["yaxis"]["type"] for slug in figures] == ["linear", "category", "log"]
    assert figures["loss"] != drawn(client, attached, "loss")
    assert figures["gradient-norm"] == drawn(client, attached, "gradient-norm")


def test_names_of_layers_reach_the_figure_escaped(client, attached):
    body = client.get(f"/runs/{attached}/panels?panel=gradient-norm").text
    assert "<b>second" not in body
    assert "&lt;b&gt;second&lt;/b&gt;.weight" in body


@pytest.mark.parametrize(
    ("query", "status"),
    [("loss&points=5", 422), ("loss&smooth=1", 422), ("loss&theme=pink", 422), ("loss&from=9&to=3", 422),
     ("loss,cubic", 422), ("x" * 129, 422), ("loss" + "&panel=loss" * 24, 422),
     ("nosuch", 404), ("loss&panel=metric.nosuch.metric", 404)],
)  # fmt: skip
def test_bad_requests_for_panels_are_problems(client, attached, query, status):
    answer = client.get(f"/runs/{attached}/panels?panel={query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_panels_of_a_run_that_measured_nothing_are_empty(client):
    figure = drawn(client, start(client), "loss")
    assert figure["data"] == []
    assert figure["summary"] == "No values yet."


def test_measurements_on_demand_are_on_the_page_of_a_run_that_has_some_or_can_have_them(client, attached):
    assert "Measured on demand" not in page(client, f"/runs/{start(client)}"), "queued: nobody could measure it"
    assert "Measured on demand" not in page(client, f"/runs/{attached}")
    data = {
        "id": "own-1",
        "settings": {"kind": "landscape", "points": 3},
        "seconds": 0.1,
        "samples": 8,
        "values": {"positions": [-1.0, 0.0, 1.0], "losses": [2.0, "NaN", 3.0]},
    }
    failed = {**data, "id": "own-2", "values": None, "error": HOSTILE}
    for sequence, told in enumerate((data, {key: value for key, value in failed.items() if value is not None}), 1):
        event = {"kind": "measurement", "at": 1.7e9, "step": 20, "data": told}
        message = {"producer": "other", "sequence": sequence, "attempt": 1, "events": [event]}
        assert client.post(f"/v1/runs/{attached}/events", json=message).status_code == 200
    text = page(client, f"/runs/{attached}")
    assert 'id="panel-measurement-own-1"' in text
    assert 'id="panel-measurement-own-2"' not in text
    assert "measure-form" not in text, "attached from outside: it is not measured from here"
    assert "<script>alert" not in text
    figure = client.get(f"/runs/{attached}/measurements/own-1?log=true&theme=dark").json()
    assert figure["summary"].startswith("nan at the weights; from 2 to 3")
    assert figure["note"].startswith("Step 20, 8 samples.")
    assert client.get(f"/runs/{attached}/measurements/own-2").status_code == 404
    assert client.get(f"/runs/{attached}/measurements/nosuch").status_code == 404


def test_heads_are_stored_answered_and_drawn_by_name(client, database):
    run = start(client, attached=True, name="attentive run")
    heads = ["blocks.0.attention#0", "blocks.0.attention#1", "blocks.1.attention#0"]
    declared = [
        MetricDeclaration(name=name, unit="1", axis="head", description="") for name in ("attention.entropy", "my.head")
    ]
    sender = Sender(database, run)
    sender.layout(Layout(version=1, axes={"head": heads}, metrics=declared))
    values = np.outer(np.arange(1, 21), [1.0, 2.0, -3.0]).astype(np.float32)
    sender.frames(np.arange(1, 21), {"attention.entropy": values, "my.head": values})
    answer = client.get(f"/v1/runs/{run}/metrics/attention.entropy?names=blocks.0.*").json()
    assert (answer["axis"], answer["names"]) == ("head", heads[:2])
    assert answer["values"][-1] == [20, 40]
    for slug in ("attention-entropy", "metric.my.head"):
        figure = drawn(client, run, slug)
        assert "of 3 heads over" in figure["summary"]
        assert "smallest -60 in blocks.1.attention#0" in figure["summary"]
        assert figure["data"][0]["y"] == heads


def test_panels_of_attention_are_awaited_of_transformers_alone(client):
    assert "attention-entropy" in page(client, f"/runs/{start(client, preset='text-transformer')}")
    assert "attention-entropy" not in page(client, f"/runs/{start(client)}")


def test_the_form_holds_every_preset_and_escapes_nothing_into_script(client):
    text = page(client, "/runs/new?preset=sick-large-rate")
    assert '<option value="sick-large-rate" selected>' in text
    assert all(f'<option value="{preset}"' in text for preset in PRESETS)
    assert page(client, "/runs/new?preset=<script>").count("<script>") == 0


def test_the_catalogue_lists_every_registry(client):
    text = page(client, "/catalogue")
    ids = [*STABILIZERS, *(f"rule.{kind}" for kind in DETECTORS), *(f"dataset.{kind}" for kind in DATASETS)]
    ids += [*(f"metric.{name}" for name in METRICS), *(f"probe.{name}" for name in PROBES)]
    missing = [each for each in ids if f'id="{each}"' not in text]
    assert not missing


def test_static_files_are_versioned_and_plotly_is_served_as_its_makers_published_it(client):
    text = page(client, "/")
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', text):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    script = client.get(plotly.URL)
    assert script.headers["content-encoding"] == "gzip"
    assert "immutable" in script.headers["cache-control"]
    published = "79542150855a52c567260e3137095dbe2b744e6d702a5cabe67da246942fba7a"
    assert hashlib.sha256(script.content).hexdigest() == published
    assert f"v{plotly.VERSION}\n".encode() in script.content[:100]
    assert client.get(plotly.URL, headers={"Accept-Encoding": "identity"}).content == script.content
