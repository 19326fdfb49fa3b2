"""A few random lives of a run; ``make lifecycle`` tries many."""

from hypothesis import HealthCheck, Phase, settings

from tests.lifecycle.machine import LifeOfARun

TestLivesOfARun = LifeOfARun.TestCase
TestLivesOfARun.settings = settings(
    max_examples=3,
    stateful_step_count=6,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
