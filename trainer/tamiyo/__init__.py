"""Tamiyo: the policy that decides what grows, and how it learns."""
