"""PPO of Stable-Baselines3."""

import sys

import gymnasium
import spy
from stable_baselines3 import PPO

model = PPO("MlpPolicy", gymnasium.make("CartPole-v1"), n_steps=64, batch_size=32, n_epochs=2, seed=1, device="cpu")
model.learn(int(sys.argv[2]) if len(sys.argv) > 2 else 256)
spy.write(sys.argv[1], model.policy)
