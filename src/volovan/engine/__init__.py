"""What every task shares: the loop, optimiser groups, schedules, EMA, distribution, checkpoints, the run folder.

Nothing is imported here, so that `volovan.engine.settings` stays free of torch.
"""
