import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("integration", "missing", "extra"),
    [
        ("lightning", ["pytorch_lightning", "lightning", "lightning.pytorch"], r"gyrostat\[lightning\]"),
        ("transformers", ["transformers"], r"gyrostat\[transformers\]"),
    ],
)
def test_a_missing_framework_is_told_with_its_remedy(
    integration: str, missing: list[str], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"gyrostat.integrations.{integration}"
    for module in missing:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match=extra):
        importlib.import_module(name)
