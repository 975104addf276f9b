"""Masks of classes and maps of what is salient: how files code them, what a folder of them holds and teaches."""
