import importlib
import pkgutil

import pytest

from gyrostat.spec.catalogue import STABILIZERS, Settings, Technique
from gyrostat.spec.run import RunSpec
from trainer import stabilizers
from trainer.models.build import MODELS
from trainer.stabilizers.registry import Registry

MODULES = list(pkgutil.iter_modules(stabilizers.__path__))
FAMILIES = sorted(module.name for module in MODULES if module.name != "registry" and not module.ispkg)


def registered(family: str) -> set[type[Settings]]:
    module = importlib.import_module(f"trainer.stabilizers.{family}")
    registries = [value for name, value in vars(module).items() if isinstance(value, Registry) and name.isupper()]
    return {settings for registry in registries for settings in registry}


def test_every_technique_of_the_catalogue_has_an_implementation_and_no_other_is_registered():
    assert RunSpec  # importing the whole spec has filled the catalogue
    paired = {technique for technique in STABILIZERS.values() if not technique.arithmetic}
    assert {s for family in FAMILIES for s in registered(family)} | set(MODELS) == paired


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_s_maths_is_in_the_file_named_as_its_settings(family):
    assert registered(family), f"{family} registers nothing"
    for settings in registered(family):
        assert settings.__module__ == f"gyrostat.spec.{family}"
        assert issubclass(settings, Technique)


@pytest.mark.parametrize("package", [module.name for module in MODULES if module.ispkg])
def test_a_package_beside_the_families_holds_classes_that_one_of_them_registers(package):
    inside = importlib.import_module(f"trainer.stabilizers.{package}")

    for module in pkgutil.iter_modules(inside.__path__):
        held = vars(importlib.import_module(f"{inside.__name__}.{module.name}"))
        assert not any(isinstance(value, Registry) for value in held.values())


class Known(Settings):
    pass


class Unknown(Settings):
    pass


def test_a_second_implementation_is_refused():
    registry: Registry[int] = Registry("number")
    registry.implements(Known)(lambda: 1)
    with pytest.raises(TypeError, match="two implementations of number Known"):
        registry.implements(Known)(lambda: 2)
    assert registry.of(Known())() == 1


def test_settings_without_an_implementation_are_named_with_what_is_known():
    registry: Registry[int] = Registry("number")
    registry.implements(Known)(lambda: 1)
    with pytest.raises(TypeError, match="no implementation of number Unknown; known here: Known"):
        registry.of(Unknown())
    assert Known in registry
    assert Unknown not in registry
