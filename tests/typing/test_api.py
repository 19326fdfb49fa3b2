"""The public API: its types, as a user's checker sees them, and its names."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.packaging.installed import PINNED, uv, wheel_in
from tests.tools import ROOT, tool

NAMES = {
    "esper_otel": "Telemetry autolog configure emit recorder should_stop shutdown",
    "esper_otel.sensors": """AllocatorSensor CompilerReading CompilerSensor Faults GradientSensor PhaseSummary
        PhaseTimer ScalerSensor TrainingMonitor UtilizationProbe resident_bytes snapshot summarise""",
    "esper_otel.sql": "QueryError VIEWS View connect select",
    "esper_otel.testing": "Emitted RecordedRun record_events",
    "esper_otel.events": """EVENT_TYPES ActionDistribution AllocatorStats AmpState BatchCompleted BatchStats
        CheckpointLoaded CheckpointSaved CompilerStats CounterfactualMatrix Decision DegradationDetected Domain
        EpisodeOutcome EpochCompleted Event EventDeclared FindingReported GradientAnomaly GradientPathology
        GradientStats GraphBreak
        Heartbeat HeuristicConfig HeuristicEpisode HeuristicWarning ImprovementDetected InfrastructureSnapshot
        LoaderPass LogEventsReduced MaskHitRates
        MemoryWarning MorphologyCausalLog NumericalInstability ObservationStats PerformanceDegradation PhaseDurations
        PhaseProfile PhaseTiming PlateauDetected PolicyUpdate RankStopped RatioCollapse RatioExplosion Recompilation
        RewardComputed RewardHackingSuspected RewardSummary Rollback RoundStarted RunEnded Scalar
        SeedConfiguration SeedDiversity
        SeedFossilized SeedGateEvaluated SeedGerminated SeedPruned SeedSnapshot SeedStageChanged SensorFault
        Severity ShapleyComputed ShapleyValue SummaryTable TamiyoInitiated TelemetryLoss Throughput Tier
        TopologyManifest TrainingStarted TrainingUpdate UpdateSkipped ValueCollapse XidError""",
}
"""A name that goes breaks somebody's code; one that comes is promised for as long."""


@pytest.mark.parametrize("module", NAMES)
def test_the_public_names_are_these_and_each_is_there(module: str) -> None:
    found = import_module(module)

    assert set(NAMES[module].split()) == set(found.__all__)
    assert len(found.__all__) == len([getattr(found, name) for name in found.__all__])


def test_the_wheel_types_a_users_code_and_refuses_what_is_wrong(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    uv("venv", "--quiet", "--python", sys.executable, str(environment))
    python = str(environment / "bin" / "python")
    uv("pip", "install", "--quiet", "--python", python, *PINNED, "--no-deps", str(wheel_in(tmp_path)))
    uv("pip", "install", "--quiet", "--python", python, *PINNED, "msgspec", "duckdb")
    code = tmp_path / "api.py"
    code.write_text((ROOT / "tests" / "typing" / "api.py").read_text())

    done = subprocess.run(
        [tool("mypy"), "--strict", "--config-file=", "--python-executable", python, str(code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert (0, "Success: no issues found in 1 source file\n") == (done.returncode, done.stdout)
