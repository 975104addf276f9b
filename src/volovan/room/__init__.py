"""What every room is made of: sections of recipes, the training task, a network in use. A room adds what is its own.

Nothing is imported here: `volovan.room.settings` is free of torch.
"""
