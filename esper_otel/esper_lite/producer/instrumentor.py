"""OpenTelemetry instrumentor for esper-lite, which attaches to a program without changing it.

``opentelemetry-instrument python -m esper.scripts.train ppo …`` loads :class:`EsperLiteInstrumentor` by its entry
point. No OpenTelemetry work happens in the training process: the hub's events go to our log, and the relay reads it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import current_process, parent_process
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import wrapt
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not annotated
from opentelemetry.instrumentation.utils import unwrap

from esper_otel.esper_lite.producer.hub_backend import EsperOtelOutput
from esper_otel.runtime import telemetry as runtime

HUB_MODULE: Final = "esper.nissa.output"
TRAINING: Final = {
    "esper.simic.training.vectorized": "train_ppo_vectorized",
    "esper.simic.training.helpers": "train_heuristic",
}
"""Training functions by module: the terminal view catches their exceptions, and the hub closes as after success."""

OPTIONS: Final = frozenset({"telemetry_dir", "run_id", "relay", "group_id", "linger_s"})
"""Arguments of ``instrument()`` passed to :func:`esper_otel.configure`."""

_AUTO_INSTRUMENTATION: Final = ("opentelemetry", "instrumentation", "auto_instrumentation")


class EsperLiteInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # nor is its base
    """Adds our backend to esper-lite's hub as soon as the hub is made.

    Example::

        EsperLiteInstrumentor().instrument(telemetry_dir="telemetry")
        # … then import and use esper-lite as ever

    esper-lite is not imported for this: its modules are looked at when the program imports them itself.
    """

    def __init__(self) -> None:
        """Initialise only once: there is one instrumentor per process."""
        if not hasattr(self, "_backends"):
            self._backends: list[tuple[Any, EsperOtelOutput]] = []
            self._wrapped: list[tuple[Any, str]] = []
            self._options: dict[str, Any] = {}
            self._is_on = False
            self._is_hooked = False

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return no dependencies: esper-lite is often run from source, without being installed."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        self._options = {name: value for name, value in kwargs.items() if name in OPTIONS}
        self._is_on = True
        if self._is_hooked:
            for name in (HUB_MODULE, *TRAINING):
                if name in sys.modules:
                    self._look_at(sys.modules[name])
            return
        self._is_hooked = True
        for name in (HUB_MODULE, *TRAINING):
            wrapt.register_post_import_hook(self._look_at, name)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._is_on = False
        for owner, name in self._wrapped:
            unwrap(owner, name)
        self._wrapped.clear()
        for hub, backend in self._backends:
            hub.remove_backend(backend)
        self._backends.clear()

    def _look_at(self, module: ModuleType) -> None:
        """Wrap the relevant functions of an imported module."""
        if not self._is_on:
            return
        if module.__name__ == HUB_MODULE:
            self._wrap(module.NissaHub, "__init__", self._on_hub)
            made_before = getattr(module, "_global_hub", None)
            if made_before is not None:
                self._attach(made_before)
        elif hasattr(module, TRAINING[module.__name__]):
            self._wrap(module, TRAINING[module.__name__], self._on_training)

    def _wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        wrapt.wrap_function_wrapper(owner, name, wrapper)
        self._wrapped.append((owner, name))

    def _on_hub(self, wrapped: Callable[..., None], hub: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        wrapped(*args, **kwargs)
        self._attach(hub)

    def _on_training(
        self, wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        try:
            return wrapped(*args, **kwargs)
        except BaseException as error:
            for _hub, backend in self._backends:
                backend.note_failure(error)
            raise

    def _attach(self, hub: Any) -> None:
        if _is_worker():
            return
        backend = EsperOtelOutput(hub, self._open_run)
        hub.add_backend(backend)
        self._backends.append((hub, backend))

    def _open_run(self) -> runtime.Telemetry:
        with _relay_left_alone():
            telemetry = runtime.configure(**self._options)
        if _has_sdk():
            print(
                "esper-otel: this process runs an OpenTelemetry SDK, which esper_otel does not need: with"
                " OTEL_PYTHON_DISTRO=none OTEL_PYTHON_CONFIGURATOR=none the OTEL_* variables are the relay's alone",
                file=sys.stderr,
                flush=True,
            )
        return telemetry


@contextmanager
def _relay_left_alone() -> Iterator[None]:
    """Start the relay without the variables that ``opentelemetry-instrument`` sets for every Python process."""
    before = os.environ.get("PYTHONPATH")
    if before is None:
        yield
        return
    kept = [path for path in before.split(os.pathsep) if Path(path).parts[-3:] != _AUTO_INSTRUMENTATION]
    os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    try:
        yield
    finally:
        os.environ["PYTHONPATH"] = before


def _is_worker() -> bool:
    """Return True if this process was started to load data: it has no run of its own."""
    # while a spawned process still imports the program, it knows no parent yet
    return parent_process() is not None or getattr(current_process(), "_inheriting", False)


def _has_sdk() -> bool:
    providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
    return any(type(provider).__module__.startswith("opentelemetry.sdk") for provider in providers)
