"""Salient objects: how strongly each pixel belongs to what a person looks at first. EDN, its measures, cut-outs."""
