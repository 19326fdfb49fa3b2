import pytest
import torch

from trainer.tolaria.data import Digits
from trainer.tolaria.training import HostSettings, warm_host


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> Digits:
    return Digits.load(torch.device("cpu"))


@pytest.fixture(scope="session")
def host_weights(digits: Digits) -> dict[str, torch.Tensor]:
    return warm_host(HostSettings(), digits, torch.device("cpu"), 1)
