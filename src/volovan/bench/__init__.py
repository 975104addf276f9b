"""Measuring: the ablation tables of both papers, run and set beside the published values."""
