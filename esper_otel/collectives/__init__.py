"""Collectives of a run, from files of PyTorch's Flight Recorder and of NCCL Inspector in its directory."""
