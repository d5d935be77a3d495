"""The one mechanism by which settings find what they set: a registry keyed by the class of the settings."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from gyrostat.spec.catalogue import Settings

Made = TypeVar("Made")
Implementation = TypeVar("Implementation", bound=Callable[..., Any])


class Registry(Generic[Made]):
    """Implementations by settings class; each, called, makes a `Made`.

    Args:
        family: what is registered here, for messages.
    """

    def __init__(self, family: str) -> None:
        self.family = family
        self._implementations: dict[type[Settings], Callable[..., Made]] = {}

    def implements(self, settings: type[Settings]) -> Callable[[Implementation], Implementation]:
        """Decorator: registers the function or class for `settings`.

        Raises:
            TypeError: `settings` has an implementation already.
        """

        def register(implementation: Implementation) -> Implementation:
            if settings in self._implementations:
                raise TypeError(
                    f"two implementations of {self.family} {settings.__name__}: "
                    f"{self._implementations[settings]} and {implementation}; remove one"
                )
            self._implementations[settings] = implementation
            return implementation

        return register

    def of(self, settings: Settings) -> Callable[..., Made]:
        """What implements the class of `settings`.

        Raises:
            TypeError: nothing does.
        """
        return self.of_class(type(settings))

    def of_class(self, settings: type[Settings]) -> Callable[..., Made]:
        """What implements this class of settings.

        Raises:
            TypeError: nothing does.
        """
        try:
            return self._implementations[settings]
        except KeyError:
            known = ", ".join(known.__name__ for known in self._implementations)
            raise TypeError(f"no implementation of {self.family} {settings.__name__}; known here: {known}") from None

    def __contains__(self, settings: object) -> bool:
        return settings in self._implementations

    def __iter__(self) -> Iterator[type[Settings]]:
        return iter(self._implementations)
