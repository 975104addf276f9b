"""The command line: a table of verbs. A verb's module is imported when it is called, torch when it computes."""

import logging
import os
import sys
from importlib import import_module
from importlib.metadata import version

from volovan.engine.allocator import keep_memory
from volovan.engine.launch import leads
from volovan.verbs import call

# verb -> (module with add_arguments and run, one line of help)
VERBS = {
    "models": ("volovan.verbs.models", "list the models, or show one: size, cost, weights, preprocessing"),
    "check-data": ("volovan.verbs.check_data", "show what a run would see and what is wrong with it"),
    "pack": ("volovan.verbs.pack", "pictures of a bounded size with their targets, in shards that are read fast"),
    "fit": ("volovan.verbs.fit", "train from a recipe, or go on with a run"),
    "validate": ("volovan.verbs.validate", "metrics of a run or a model on labelled pictures"),
    "predict": ("volovan.verbs.predict", "predictions for pictures, as files"),
    "export": ("volovan.verbs.export", "a network in a file that other programs run: ONNX, OpenVINO, torch.export"),
    "probe": ("volovan.verbs.probe", "nearest neighbours and a linear classifier on frozen features"),
    "label": ("volovan.verbs.label", "dense labels of a teacher for every picture, for token labeling"),
    "ablate": ("volovan.verbs.ablate", "run the rows of a table of a paper and set them beside it"),
    "benchmark": ("volovan.verbs.benchmark", "speed of networks and operations beside their peers, in one run"),
    "demo": ("volovan.verbs.demo", "train small networks on built-in digits or drawn scenes and show a page"),
}
logger = logging.getLogger("volovan")
EXPECTED = (ValueError, OSError, ImportError, MemoryError)  # bad input, the disk, a missing package


def main(argv: list[str] | None = None) -> int:
    """Run a verb; user errors become one sentence and exit status 2 (VOLOVAN_DEBUG=1 shows the traceback)."""
    argv = sys.argv[1:] if argv is None else argv
    if "OMP_WAIT_POLICY" not in os.environ:
        # Threads that wait should sleep, since spinning ones cost threefold as soon as loader processes share the
        # cores; but not at once: between two operations of a network they would wake too late (VOLO-D1, one picture:
        # 5.8 images/s asleep, 8.6 with this count, 9.4 spinning on).
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    keep_memory()
    if not logger.handlers:  # what the library has to say (a new head, resized position embeddings) reaches the user
        handler = _ToStderr()
        handler.setFormatter(logging.Formatter("note: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if leads(os.environ) else logging.WARNING)  # once, not in every process
    verb = argv[0] if argv else ""
    if verb not in VERBS:
        return _overview(verb)
    module, summary = VERBS[verb]
    try:
        return call(import_module(module), verb, summary, argv[1:])
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"volovan {verb}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        # Of an error that is expected, or of a class of our own, the message alone helps.
        known = isinstance(error, EXPECTED) or type(error).__module__.startswith("volovan.")
        if os.environ.get("VOLOVAN_DEBUG") or not known:
            raise
        typed = getattr(error, "typed", None)  # some errors know what to do in a program and what to type
        print(f"volovan {verb}: {typed(verb) if typed else error}", file=sys.stderr)
        return 2


class _ToStderr(logging.Handler):
    """Writes to what sys.stderr is at that moment, which a program that calls `main` may have changed."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def _overview(verb: str) -> int:
    if verb == "--version":
        print(f"volovan {version('volovan')}")
        return 0
    lines = ["usage: volovan VERB ...    (volovan VERB --help tells more)", ""]
    lines += [f"  {name:12s} {text}" for name, (_, text) in VERBS.items()]
    asked = verb in ("", "-h", "--help", "help")
    if not asked:
        from volovan.files.nearest import nearest

        lines = [f"volovan: there is no verb {verb!r}{nearest(verb, VERBS)}", "", *lines]
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2
