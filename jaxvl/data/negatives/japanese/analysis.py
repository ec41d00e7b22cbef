"""Tokens of Japanese captions, by SudachiPy: nouns in a row are one, endings belong to their word.

A token's tag is N (noun), V|... (verb with its endings), C (number with counter), L (place, 上),
P (particle), D, "," or X; and of words that describe a noun: A|attr (赤い, 赤の, 大きな before it),
A|pred (赤い at the end), A|く (赤く), A|bare (レッド).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from jaxvl.data.negatives.japanese.words import LEXICON, NO_MATERIAL, PLACES, is_attribute
from jaxvl.data.negatives.reading import Token
from jaxvl.data.text.scripts import check_installed as check_words
from jaxvl.data.text.words import sudachi

_MAX_CHARACTERS = 200  # of a caption; models read no more
_COUNTED = re.compile("[一二三四五六七八九十数何両]+(人|つ|匹|枚|本|台|個|羽|頭|冊|杯|足|着|輪|軒)")
_VOICED = {"で": "て", "だ": "た", "られる": "れる"}  # the same ending, by another verb


def check_installed() -> None:
    """Raises UserError where SudachiPy is not installed."""
    check_words("japanese")


class _Part(NamedTuple):
    """A morpheme. kind: parts of speech. inflection: of verbs and adjectives."""

    start: int
    end: int
    surface: str
    kind: tuple[str, ...]
    inflection: str
    lemma: str


def analyse(captions: Sequence[str]) -> list[list[Token]]:
    """Returns the tokens of each caption. Raises UserError as `check_installed`."""
    check_installed()
    found = {text: _described(_joined(_parts(text))) for text in set(captions)}
    return [found[text] for text in captions]


def _parts(text: str) -> list[_Part]:
    return [
        _Part(
            morpheme.begin(),
            morpheme.end(),
            morpheme.surface(),
            tuple(morpheme.part_of_speech()[:3]),
            morpheme.part_of_speech()[5].partition("-")[0],
            morpheme.normalized_form().lower(),
        )
        for morpheme in sudachi().tokenize(text[:_MAX_CHARACTERS])
    ]


def _joined(parts: list[_Part]) -> list[Token]:
    """Returns tokens; those of listed attributes that are nouns have the tag A for now."""
    tokens: list[Token] = []
    i = 0
    while i < len(parts):
        part = parts[i]
        if _is_number(part):
            i = _take_number(parts, i, tokens)
        elif _COUNTED.fullmatch(part.surface):
            tokens.append(_token([part], "C", part.surface[-1]))
            i += 1
        elif _begins_noun(parts, i):
            i = _take_nouns(parts, i, tokens)
        elif part.kind[0] == "動詞":
            i = _take_verb(parts, i, i, tokens)
        else:
            i = _take_other(parts, i, tokens)
    return tokens


def _token(parts: Sequence[_Part], tag: str, lemma: str) -> Token:
    word = "".join(part.surface for part in parts)
    return Token(parts[0].start, parts[-1].end, word, tag, lemma)


def _is_number(part: _Part) -> bool:
    return part.kind[:2] == ("名詞", "数詞")


def _take_number(parts: list[_Part], i: int, tokens: list[Token]) -> int:
    """Appends a number with its counter, "3枚"; returns the place behind it."""
    end = i
    while end < len(parts) and _is_number(parts[end]):
        end += 1
    while end < len(parts) and ("助数詞" in parts[end].kind[2] or parts[end].surface == "入り"):
        end += 1
    tokens.append(_token(parts[i:end], "C", parts[end - 1].lemma))
    return end


def _is_noun(part: _Part) -> bool:
    if part.kind[0] == "名詞":
        return part.kind[1] != "数詞" and part.kind[2] not in ("人名", "地名")
    return part.kind[0] == "接頭辞" or part.kind[:2] == ("接尾辞", "名詞的")


def _begins_noun(parts: list[_Part], i: int) -> bool:
    """Returns whether a noun begins here; 折りたたみ in 折りたたみ式 belongs to one."""
    part = parts[i]
    stem = (
        part.kind[0] == "動詞" and part.inflection == "連用形" and part.surface[-1] not in "っんい"
    )
    return _is_noun(part) or stem and i + 1 < len(parts) and _is_noun(parts[i + 1])


def _take_nouns(parts: list[_Part], i: int, tokens: list[Token]) -> int:
    """Appends a row of nouns, without the attributes before it; returns the place behind it."""
    end = i + 1
    while end < len(parts) and _is_noun(parts[end]):
        end += 1
    acts = end < len(parts) and "サ変" in parts[end - 1].kind[2] and parts[end].lemma == "為る"
    row = parts[i : end - acts]
    while row:
        length = next(
            (
                n
                for n in range(len(row), 0, -1)
                if is_attribute("".join(p.surface for p in row[:n]))
            ),
            0,
        )
        if not length:
            tokens.append(_noun(row))
            break
        tokens.append(_token(row[:length], "A", "".join(p.surface for p in row[:length])))
        row = row[length:]
    return _take_verb(parts, end - 1, end, tokens) if acts else end


def _noun(row: Sequence[_Part]) -> Token:
    *modifiers, last = row
    whole = "".join(part.surface for part in row).lower()
    if not modifiers or last.kind[0] == "接尾辞" or modifiers[-1].kind[0] == "接頭辞":
        return _token(row, "N", last.lemma if not modifiers else whole)
    return _token(row, "N", f"{''.join(part.surface for part in modifiers).lower()} {last.lemma}")


def _take_verb(parts: list[_Part], first: int, verb: int, tokens: list[Token]) -> int:
    """Appends a verb with its endings; returns the place behind it. first: of 点灯 in 点灯する."""
    end, form = verb + 1, [_closed(parts, verb)]
    while end < len(parts) and _is_ending(parts[end], parts[end - 1]):
        lemma = parts[end].lemma if parts[end].kind[0] != "助詞" else parts[end].surface
        form.append(_VOICED.get(lemma, lemma))
        end += 1
    if end > verb + 1:
        form.append(_closed(parts, end - 1))
    lemma = parts[verb].lemma if first == verb else parts[first].surface + "する"
    acts = "する|" if first < verb else ""
    tokens.append(_token(parts[first:end], f"V|{acts}{'|'.join(form)}", lemma))
    return end


def _closed(parts: list[_Part], i: int) -> str:
    return "終" if parts[i].inflection in ("終止形", "連体形") else parts[i].inflection


def _is_ending(part: _Part, before: _Part) -> bool:
    if part.kind[0] == "助動詞" or part.kind[:2] == ("助詞", "接続助詞"):
        return True
    return part.kind[:2] in (("動詞", "非自立可能"), ("形容詞", "非自立可能")) and before.kind[
        :2
    ] == ("助詞", "接続助詞")


def _take_other(parts: list[_Part], i: int, tokens: list[Token]) -> int:
    """Appends an adjective, a particle or another word; returns the place behind it."""
    part = parts[i]
    after = parts[i + 1] if i + 1 < len(parts) else None
    if part.kind[0] == "空白":
        return i + 1
    if part.kind[0] == "形状詞" and after and after.surface == "な":
        tokens.append(_token(parts[i : i + 2], "A|attr", f"{part.surface}な"))
        return i + 2
    if part.kind[0] == "形容詞" and part.inflection in ("連体形", "終止形"):
        tag = "A|い"
    elif part.kind[0] == "形容詞" and part.surface.endswith("く"):
        tag = "A|く"
    elif part.kind[0] == "連体詞":
        tag = "A|attr" if LEXICON.kinds_of(part.surface) else "D"
    else:
        known = {"助詞": "P", "補助記号": ","}
        tag = known.get(part.kind[0], "X")
    lemma = part.surface if part.kind[0] in ("連体詞", "助詞") else part.lemma
    tokens.append(_token([part], tag, lemma))
    return i + 1


def _described(tokens: list[Token]) -> list[Token]:
    """Returns the tokens in which every A says how it stands: 赤い and 赤の before a noun alike."""
    found: list[Token] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        if token.tag == "A|い":
            attributive = i + 1 < len(tokens) and tokens[i + 1].tag[0] in "ANCD"
            token = token._replace(tag="A|attr" if attributive else "A|pred")
        elif token.tag == "A" or token.tag == "N" and token.lemma in PLACES:
            after = tokens[i + 1].word if i + 1 < len(tokens) else ""
            behind_no = bool(found) and found[-1].word == "の" and token.lemma in PLACES
            describes = token.tag == "A" and not behind_no
            if describes and after == "の" and _can_be_described(tokens, i + 2, token):
                no = tokens[i + 1]
                token = token._replace(tag="A|attr", end=no.end, word=token.word + no.word)
                i += 1
            elif describes and (not after or tokens[i + 1].tag[0] in "ANC"):
                token = token._replace(tag="A|bare")
            elif token.lemma in PLACES:
                token = token._replace(tag="L")
            else:
                token = token._replace(tag="X" if LEXICON.is_colour(token.lemma) else "N")
        found.append(token)
        i += 1
    return found


def _can_be_described(tokens: list[Token], i: int, attribute: Token) -> bool:
    """Returns whether a noun follows at i, past other words that describe it."""
    while i < len(tokens) and (tokens[i].tag.startswith("A|") or tokens[i].tag in "CD"):
        i += 1
    if i >= len(tokens) or tokens[i].tag not in ("N", "A"):
        return False
    is_material = "material" in LEXICON.kinds_of(attribute.lemma)
    return tokens[i].lemma not in PLACES and not (is_material and tokens[i].lemma in NO_MATERIAL)
