"""Every sentence with which the package refuses something, found in its source: each says what to do about it."""

import ast
import re
from pathlib import Path

import volovan

SOURCE = Path(volovan.__file__).parent
KINDS = {"BadImage", "BadMask", "CheckpointError", "ConfigError", "LabelError", "RunFolderError", "SettingsError"}
KINDS |= {"ExportError", "FileError", "SourceError", "ValueError", "WeightsError"}
# How a sentence says what is right, or what to do: a demand, a range, a name to take, or another sentence that does.
WORDS = """add ask at.least at.most belongs? call choose convert copy did.you.mean expect(s|ed)? export give go install
is.read is.taken are.read are.taken keep knows? known lay leave make mend must name needs? needed only pass put remove
rename repeat say send set shorten should start take there.are turn unpack use"""
REMEDY = re.compile(rf"\b({'|'.join(WORDS.split())})\b|--\w|`|; ")
PASSED_ON = re.compile(
    r"\{(hint|remedy|sentence|why|missing|misread|self|said|str|error|_no_pair|_refusal|_none|_several|_REMEDY|"
    r"nearest_beside|points\.missing)\b"
)
BARE = (
    "Lab colours cannot be converted",
    "VAN in mmsegmentation has the heads fpn and upernet",
    "a mask or a prediction holds class numbers",
    "checkpoint {path} is damaged",
    "it has no {what}",
    "it is compressed, which torch.save never does",
    "it is cut off",
    "it is no MAT-file",
    "it is no safetensors file",
    "no mask of {root} tells classes",
    "standard input is neither a picture",
    "the checksum of",
    "the data have {",
    "two tensors of a checkpoint would be called",
    "{TABLE}: category {number}",
    "{files[0]} cannot be read",
    "{folder} holds no label maps",
    "{folder}: a label is {strange[0]}",
    "{path} does not exist",
    "{path} is no valid {",
    "{path} is not a weight file",
    "{path} line {line} has no path",
    "{path} line {line} lacks the picture",
    "{path}: {picture} has label",
    "{root} has {_TRUTH}",
    "{what} {path} is no valid YAML",
)
"""beginnings of sentences that only say what is wrong, mostly that a file is another than it should be"""


def text_of(node: ast.AST) -> str:
    """The text of an expression, with {placeholders} as they are written."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else f"{{{node.value!r}}}"
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    if isinstance(node, ast.FormattedValue):
        return f"{{{ast.unparse(node.value)}}}"
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return f"{{{ast.unparse(node)}}}"


def sentences_of(code: str) -> list[tuple[int, str]]:
    """(line, sentence) of everything that a module raises at a user."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            kind = node.exc.func
            name = kind.id if isinstance(kind, ast.Name) else getattr(kind, "attr", "")
            if name in KINDS:
                found.append((node.lineno, " ".join(map(text_of, node.exc.args)).strip()))
    return found


def has_remedy(sentence: str) -> bool:
    return bool(REMEDY.search(sentence) or PASSED_ON.search(sentence))


def all_sentences() -> dict[str, str]:
    """ "file:line" -> sentence."""
    return {
        f"{path.relative_to(SOURCE)}:{line}": sentence
        for path in sorted(SOURCE.rglob("*.py"))
        for line, sentence in sentences_of(path.read_text(encoding="utf-8"))
    }


def test_every_sentence_says_what_to_do():
    listed = all_sentences()
    assert len(listed) > 400, "sentences are raised in another way now; look for them there"
    bare = [f"{place}: {said}" for place, said in listed.items() if not has_remedy(said) and not said.startswith(BARE)]
    assert not bare, "say what is expected, or what to do about it:\n" + "\n".join(bare)


def test_sentences_without_a_remedy_are_still_there():
    """One that has been mended is taken off the list."""
    listed = all_sentences().values()
    gone = [start for start in BARE if not any(said.startswith(start) and not has_remedy(said) for said in listed)]
    assert not gone, "these have a remedy now, or are gone; take them off BARE"


def test_a_sentence_without_a_remedy_is_seen():
    code = 'def f(x):\n    raise SettingsError(f"{x} is odd")\n    raise SettingsError(f"{x} is odd" "; set it to 2")'
    (line, bare), (_, mended) = sentences_of(code)
    assert (line, bare, has_remedy(bare)) == (2, "{x} is odd", False)
    assert (mended, has_remedy(mended)) == ("{x} is odd; set it to 2", True)
