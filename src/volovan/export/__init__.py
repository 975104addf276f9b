"""Networks in files that other programs run: written, verified, made smaller, opened again.

Everything here works on networks in use (`volovan.room.ready`); `volovan.export` and the command line find them by
their words.
"""
