"""Event files against tensorboardX, which writes and frames them by itself."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.record_writer import RecordWriter

from gyrostat.transfer import recording, tensorboard
from gyrostat.transfer.recording import POINTS


def test_scalars_of_another_writer_are_read(tmp_path: Path) -> None:
    values = np.array([2.5, np.nan, np.inf, -1e30], dtype=np.float32)
    with SummaryWriter(str(tmp_path), write_to_disk=True) as writer:
        for step, value in enumerate(values):
            writer.add_scalar("Loss/train", float(value), step * 10, walltime=1000.0 + step)
            writer.add_histogram("weights", np.arange(10), step * 10)
    points = tensorboard.read(tmp_path).to_pydict()
    of = [i for i, metric in enumerate(points["metric"]) if metric == "Loss/train"]
    assert [points["step"][i] for i in of] == [0, 10, 20, 30]
    np.testing.assert_array_equal(np.float32([points["value"][i] for i in of]), values)
    of = [i for i, metric in enumerate(points["metric"]) if metric == "progress.seconds"]
    assert [points["value"][i] for i in of] == [0, 1, 2, 3]
    found = tensorboard.recording_of(tmp_path, name="x")
    assert list(found.declared) == ["loss.train"]


def test_scalars_that_newer_writers_put_into_tensors_are_read(tmp_path: Path) -> None:
    writer = RecordWriter(str(tmp_path / "events.out.tfevents.1"))
    for step, tensor in enumerate(
        [
            TensorProto(dtype=1, float_val=[0.5]),
            TensorProto(dtype=1, tensor_content=np.float32(0.25).tobytes()),
            TensorProto(dtype=2, tensor_content=np.float64(0.125).tobytes()),
            TensorProto(dtype=7, string_val=[b"text"]),
        ]
    ):
        event = Event(wall_time=5.0, step=step)
        value = event.summary.value.add(tag="a/b")
        value.tensor.CopyFrom(tensor)
        value.metadata.plugin_data.plugin_name = "scalars"
        writer.write(event.SerializeToString())
    writer.close()
    points = tensorboard.read(tmp_path)
    of = points.filter(pa.compute.equal(points["metric"], "a/b"))
    assert of["value"].to_pylist() == [0.5, 0.25, 0.125]


def test_what_is_written_is_framed_as_tensorboardx_frames_it(tmp_path: Path) -> None:
    table = pa.table(
        [[1, 2, 2], ["loss.train", "gradient.norm", "progress.seconds"], ["", "層", ""], np.float32([0.5, np.nan, 7])],
        schema=POINTS,
    )
    path = tmp_path / "events.out.tfevents.gyrostat"
    with path.open("wb") as file:
        tensorboard.write(ds.dataset(table), file, created=100.0)
    written = path.read_bytes()
    (start,) = np.frombuffer(written[:8], "<u8")
    version = Event.FromString(written[12 : 12 + int(start)])
    assert version.file_version == "brain.Event:2"
    expected = RecordWriter(str(tmp_path / "expected"))
    expected.write(version.SerializeToString())
    for step, tag, value, seconds in ((1, "loss.train", 0.5, 0.0), (2, "gradient.norm/層", np.nan, 7.0)):
        event = Event(wall_time=100.0 + seconds, step=step)
        event.summary.value.add(tag=tag, simple_value=value)
        expected.write(event.SerializeToString())
    expected.close()
    assert written == (tmp_path / "expected").read_bytes()


def test_a_file_that_is_cut_off_is_read_to_its_end_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    table = pa.table([[1, 2], ["a.b", "a.b"], ["", ""], np.float32([1, 2])], schema=POINTS)
    with path.open("wb") as file:
        tensorboard.write(ds.dataset(table), file, created=0.0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert tensorboard.read(tmp_path)["step"].to_pylist() == [1, 1], "the point and its time"
    for place in (3, len(whole) - 20):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="damaged"):
            tensorboard.read(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="hold no scalars"):
        tensorboard.read(tmp_path)


def test_each_folder_with_event_files_is_a_run(tmp_path: Path) -> None:
    for name in ("", "a", "b/c"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "events.out.tfevents.1").touch()
    assert tensorboard.folders(tmp_path) == [tmp_path, tmp_path / "a", tmp_path / "b/c"]
    with pytest.raises(ValueError, match="holds no TensorBoard event files"):
        tensorboard.folders(tmp_path / "b" / "none")


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("Train/Loss", "train.loss"),
        ("lr", "imported.lr"),
        ("gradient.norm", "gradient.norm"),
        ("2nd/5", "n2nd.n5"),
        ("損失", "imported.unnamed"),
        ("a" * 200, "imported." + "a" * 44),
        ("b" * 120 + "/x", "b" * 44 + ".x"),
    ],
)
def test_tags_become_metric_names(tag: str, name: str) -> None:
    assert recording.metric_name(tag) == name


def test_tags_that_become_one_name_stay_apart() -> None:
    table = pa.table([[1, 1, 1], ["Loss", "loss", "LOSS"], ["", "", ""], np.float32([1, 2, 3])], schema=POINTS)
    points, declared = recording.renamed(table)
    assert points["metric"].to_pylist() == ["imported.loss", "imported.loss_2", "imported.loss_3"]
    assert "'LOSS'" in declared["imported.loss_3"].description
