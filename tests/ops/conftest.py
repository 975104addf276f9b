"""How kernels in Triton are tried without a GPU: its interpreter takes microseconds for each operation of a program."""

from collections.abc import Iterator

import pytest

from volovan.ops.backends import INTERPRETED


@pytest.fixture(autouse=True, scope="session")
def _no_sums_for_nothing() -> Iterator[None]:
    """For every sum and product of integers the interpreter works out whether it fits, more than half of its time, and
    drops the answer, since it asserts only in debugging."""
    if not INTERPRETED:
        yield
        return
    from triton.runtime import interpreter

    with pytest.MonkeyPatch.context() as patch:
        options = interpreter.InterpreterOptions(sanitize_overflow=False)
        patch.setattr(interpreter.interpreter_builder, "options", options)
        yield


@pytest.fixture
def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each makes more; the tests of any shape have those of a GPU."""
    if INTERPRETED:
        from volovan.ops import depthwise_planes_triton, depthwise_triton, outlook_triton

        monkeypatch.setitem(outlook_triton.PIXELS.usual, "WINDOWS", 256)
        monkeypatch.setitem(outlook_triton.LOGITS.usual, "NUMBERS", 1 << 16)
        for kernels, constant in ((depthwise_triton, "PLACES"), (depthwise_planes_triton, "PIXELS")):
            monkeypatch.setitem(kernels.CONVOLVED.usual, constant, 1024)
            monkeypatch.setitem(kernels.SUMMED.usual, constant, 256)
