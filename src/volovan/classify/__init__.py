"""Image classification: settings (recipe), data, transforms, losses, metrics, task, prediction, pictures.

Nothing is imported here, so that `volovan.classify.recipe` stays free of torch.
"""
