import torch

from gyrostat.probes.copies import Copies


def test_copies_are_equal_and_go_into_the_memory_of_the_last_ones_where_these_fit() -> None:
    copies = Copies()
    tensors = {"a": torch.randn(3, 4), "b": torch.randn(5, requires_grad=True), "c": torch.randn(4, 3).T}
    first = copies.of(tensors)
    places = {name: copy.data_ptr() for name, copy in first.items()}
    changed = {"a": torch.randn(3, 4), "b": torch.randn(6), "c": torch.randn(4, 3).T}
    second = copies.of(changed)
    for name, tensor in changed.items():
        assert torch.equal(second[name], tensor), name
        assert second[name].data_ptr() != tensor.data_ptr()
        assert not second[name].requires_grad
        assert (second[name].data_ptr() == places[name]) == (name != "b"), "another length does not fit"
    assert not set(copies.of({"a": tensors["a"]})) - {"a"}


def test_another_number_format_and_sparse_tensors_are_copied_anew() -> None:
    copies = Copies()
    copies.of({"a": torch.ones(3), "b": torch.ones(3)})
    sparse = torch.eye(3).to_sparse()
    found = copies.of({"a": torch.ones(3, dtype=torch.float64), "b": sparse})
    assert found["a"].dtype == torch.float64
    assert found["b"].is_sparse
    assert found["b"] is not sparse
