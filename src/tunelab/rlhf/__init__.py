"""Reinforcement learning from human feedback: rollouts of a policy, and the rewards of its answers."""
