"""What works for any room: the table of rooms, recipes, what MODEL means, prediction, validation, rehearsals.

Nothing is imported here, so that the command line stays light.
"""
