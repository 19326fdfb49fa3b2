"""Tamiyo: the policy that decides about growth, and its learning."""
