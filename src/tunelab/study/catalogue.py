"""Well-known pretrained models by their architecture's numbers: what they are good for, and their size.

Sizes are computed, not quoted: a row has what the model's `config.json` says, and `Shape.parameters` counts.
Nothing here opens a model or asks a hub. Within a language the rows stand best first, for their usual results
on its benchmarks: an order of what to try, not a measurement.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = ["CATALOGUE", "SUITS", "Kind", "Known", "Shape", "find_known", "kind_of", "shape_of"]

Kind = Literal["encoder", "causal", "seq2seq"]

#: Tasks that a kind of model is the usual choice for; the first kind that has a task is preferred.
SUITS: Mapping[Kind, tuple[str, ...]] = {
    "encoder": (
        *("classify", "multilabel", "regress", "match", "tag", "answer", "language", "prefer", "feedback"),
    ),
    "causal": (
        *("classify", "multilabel", "regress", "match", "rewrite", "instruct", "prefer", "align", "language"),
        "feedback",
    ),
    "seq2seq": ("rewrite",),
}

_GATED = {"llama", "qwen2", "qwen3", "modernbert"}
_ROTARY = {"llama", "qwen2", "qwen3"}
_POOLED = {"bert", "roberta", "xlm-roberta"}


# D hidden, F intermediate, V vocabulary, E width of the embedding table


@dataclass(frozen=True)
class Shape:
    """What decides a transformer's size and work.

    family: `model_type` of its configuration; positions: rows of its table of positions (deberta-v2: of
    relative ones, 0: none); types: rows of the table of token types; key_size: features of all keys together
    (None: hidden); query_size: of all queries; embedding: width of the word table where it is not `hidden`;
    decoder: layers of a second stack; tied: the output layer is the word table.
    """

    family: str
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    heads: int
    positions: int = 0
    types: int = 0
    key_size: int | None = None
    query_size: int | None = None
    embedding: int | None = None
    decoder: int = 0
    tied: bool = True

    @property
    def width(self) -> int:
        """Features of all queries of a layer."""
        return self.query_size or self.hidden

    @property
    def table(self) -> int:
        """Numbers of the word table."""
        return self.vocabulary * (self.embedding or self.hidden)

    @property
    def has_gate(self) -> bool:
        """Whether the feed-forward part has three matrices instead of two."""
        return self.family in _GATED

    @property
    def matrices(self) -> int:
        """Numbers of the matrices of all layers: each meets every token once, forward (2 operations)."""
        attention = 2 * self.hidden * self.width + 2 * self.hidden * (self.key_size or self.width)
        forward = (3 if self.has_gate else 2) * self.hidden * self.intermediate
        return self.layers * (attention + forward) + self.decoder * (2 * attention + forward)

    @property
    def parameters(self) -> int:
        """Numbers of the model without a task's head: of a causal or sequence-to-sequence model with its
        output layer, of an encoder with its pooler where its family has one.

        >>> find_known("google-bert/bert-base-chinese").shape.parameters
        102267648
        """
        output = 0 if self.tied else self.table
        return self.matrices + self._vectors + self._outside + output

    @property
    def _vectors(self) -> int:
        """Biases and norms of the layers."""
        D, F = self.hidden, self.intermediate
        if self.family == "t5":
            return self.layers * 2 * D + self.decoder * 3 * D
        if self.family == "bart":
            return self.layers * (9 * D + F) + self.decoder * (15 * D + F)
        if self.family == "modernbert":
            return self.layers * 2 * D - D  # the first layer reads normed embeddings
        if self.family in _ROTARY:
            key = self.key_size or self.width
            extra = {"qwen2": self.width + 2 * key, "qwen3": 2 * self.width // self.heads}
            return self.layers * (2 * D + extra.get(self.family, 0))
        return self.layers * (9 * D + F)

    @property
    def _outside(self) -> int:
        """Tables, the norms around them, the pooler."""
        D, E = self.hidden, self.embedding or self.hidden
        if self.family == "t5":  # each stack has its final norm and 32 relative positions a head
            return self.table + 2 * D + 2 * 32 * self.heads
        if self.family == "bart":
            return self.table + 2 * (self.positions * D + 2 * D)
        if self.family in _ROTARY:
            return self.table + D
        if self.family == "modernbert":
            return self.table + 2 * D
        tables = self.table + (self.positions + self.types) * E + 2 * E
        widened = E * D + D if E != D else 0
        relative = 2 * D if self.family == "deberta-v2" else 0
        return tables + widened + relative + (D * D + D if self.family in _POOLED else 0)


@dataclass(frozen=True)
class Known:
    """A model worth knowing.

    name: what --model takes; languages: "en", "zh", "code", "many"; max_length: tokens it has positions for;
    licence: "" where this table is not sure; safetensors: whether its hub page surely has them (tunelab reads
    nothing else); local: it needs no network; sample: for first tries only, so it is named last; about: what
    a person should know.
    """

    name: str
    shape: Shape
    kind: Kind
    languages: tuple[str, ...]
    max_length: int
    licence: str = ""
    safetensors: bool = True
    local: bool = False
    sample: bool = False
    about: str = ""

    def suits(self, task: str) -> bool:
        """Whether this kind of model is a usual choice for the task."""
        return task in SUITS[self.kind] and (task != "language" or self.foretells)

    @property
    def foretells(self) -> bool:
        """Whether it comes with a language model's head: not where it was made for sentence similarity, nor
        DeBERTa-v3, which was taught to tell replaced tokens."""
        return _SIMILAR not in self.about and self.shape.family != "deberta-v2"


def _bert(layers: int, hidden: int, vocabulary: int, family: str = "bert") -> Shape:
    """Feed-forward four times as wide, heads of 64 features (the narrowest has 12 heads), 512 positions."""
    robust = family in ("roberta", "xlm-roberta")  # two positions of its table are never used
    return Shape(
        family,
        layers,
        hidden,
        4 * hidden,
        vocabulary,
        heads=12 if hidden == 384 else hidden // 64,
        positions=514 if robust else 512,
        types=1 if robust else 0 if family in ("deberta-v2", "distilbert") else 2,
    )


def _rotary(
    family: str, layers: int, hidden: int, inner: int, vocabulary: int, heads: tuple[int, int, int]
) -> Shape:
    """heads: of queries, of keys and values, and the features of one."""
    queries, keys, size = heads
    return Shape(
        family, layers, hidden, inner, vocabulary, queries, key_size=keys * size, query_size=queries * size
    )


def _encoder(
    name: str, languages: str, licence: str, shape: Shape, about: str = "", length: int = 512
) -> Known:
    return Known(name, shape, "encoder", tuple(languages.split()), length, licence, about=about)


def _pickled(known: Known) -> Known:
    """The hub page may have pickled weights only."""
    return replace(known, safetensors=False)


def _causal(name: str, languages: str, licence: str, shape: Shape, length: int) -> Known:
    return Known(name, shape, "causal", tuple(languages.split()), length, licence)


def _two_stacks(name: str, languages: str, licence: str, shape: Shape, length: int) -> Known:
    return Known(name, shape, "seq2seq", tuple(languages.split()), length, licence)


_MIT, _APACHE, _UNSURE = "MIT", "Apache-2.0", ""
_NO_PREFIX = "method prefix does not work on it"
_CODE = "six programming languages with their comments; C is not among them"
_SIMILAR = "small, made for sentence similarity"
_TINY = "tiny, pretrained for an hour: for samples and first tries; a larger model is far better"
_QWEN = 151936

#: Best first within a language and kind.
CATALOGUE: tuple[Known, ...] = (
    # English
    _pickled(
        _encoder("microsoft/deberta-v3-base", "en", _MIT, _bert(12, 768, 128100, "deberta-v2"), _NO_PREFIX)
    ),
    _encoder("FacebookAI/roberta-base", "en", _MIT, _bert(12, 768, 50265, "roberta")),
    _encoder(
        "answerdotai/ModernBERT-base",
        "en code",
        _APACHE,
        Shape("modernbert", 22, 768, 1152, 50368, 12),
        "reads up to 8,192 tokens",
        8192,
    ),
    _pickled(
        _encoder("microsoft/deberta-v3-small", "en", _MIT, _bert(6, 768, 128100, "deberta-v2"), _NO_PREFIX)
    ),
    _encoder("google-bert/bert-base-uncased", "en", _APACHE, _bert(12, 768, 30522)),
    _encoder(
        "distilbert/distilroberta-base",
        "en",
        _APACHE,
        _bert(6, 768, 50265, "roberta"),
        "half of roberta-base's layers",
    ),
    replace(_encoder("minilm", "en", _APACHE, _bert(6, 384, 30522), _SIMILAR), local=True),
    # Chinese
    _encoder("google-bert/bert-base-chinese", "zh", _APACHE, _bert(12, 768, 21128)),
    _pickled(
        _encoder(
            "hfl/chinese-roberta-wwm-ext",
            "zh",
            _APACHE,
            _bert(12, 768, 21128),
            "BERT's architecture, more Chinese text, whole words masked",
        )
    ),
    _pickled(_encoder("hfl/chinese-macbert-base", "zh", _APACHE, _bert(12, 768, 21128))),
    _encoder("BAAI/bge-small-zh-v1.5", "zh", _MIT, _bert(4, 512, 21128), _SIMILAR),
    _pickled(
        _encoder("hfl/rbt3", "zh", _APACHE, _bert(3, 768, 21128), "three layers of chinese-roberta-wwm-ext")
    ),
    replace(
        _encoder("mini-zh", "zh", _APACHE, Shape("bert", 3, 192, 768, 7641, 4, 512, 2), _TINY),
        local=True,
        sample=True,
    ),
    # code
    _pickled(
        _encoder("microsoft/graphcodebert-base", "code", _UNSURE, _bert(12, 768, 50265, "roberta"), _CODE)
    ),
    _pickled(_encoder("microsoft/codebert-base", "code", _UNSURE, _bert(12, 768, 50265, "roberta"), _CODE)),
    # many languages
    _encoder(
        "FacebookAI/xlm-roberta-base",
        "many",
        _MIT,
        _bert(12, 768, 250002, "xlm-roberta"),
        "100 languages",
    ),
    _encoder(
        "google-bert/bert-base-multilingual-cased", "many", _APACHE, _bert(12, 768, 119547), "104 languages"
    ),
    _encoder(
        "distilbert/distilbert-base-multilingual-cased",
        "many",
        _APACHE,
        _bert(6, 768, 119547, "distilbert"),
        "half of multilingual BERT's layers",
    ),
    _encoder(
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        "many",
        _APACHE,
        _bert(12, 384, 250037),
        f"about 50 languages; {_SIMILAR}",
    ),
    # causal
    _causal(
        "Qwen/Qwen3-4B", "many code", _APACHE, _rotary("qwen3", 36, 2560, 9728, _QWEN, (32, 8, 128)), 32768
    ),
    _causal(
        "Qwen/Qwen3-1.7B", "many code", _APACHE, _rotary("qwen3", 28, 2048, 6144, _QWEN, (16, 8, 128)), 32768
    ),
    _causal(
        "Qwen/Qwen3-0.6B", "many code", _APACHE, _rotary("qwen3", 28, 1024, 3072, _QWEN, (16, 8, 128)), 32768
    ),
    _causal(
        "Qwen/Qwen2.5-Coder-0.5B",
        "code",
        _APACHE,
        _rotary("qwen2", 24, 896, 4864, _QWEN, (14, 2, 64)),
        32768,
    ),
    _causal(
        "HuggingFaceTB/SmolLM2-360M",
        "en",
        _APACHE,
        _rotary("llama", 32, 960, 2560, 49152, (15, 5, 64)),
        8192,
    ),
    _causal(
        "HuggingFaceTB/SmolLM2-135M", "en", _APACHE, _rotary("llama", 30, 576, 1536, 49152, (9, 3, 64)), 8192
    ),
    _causal(
        "openai-community/gpt2", "en", _MIT, Shape("gpt2", 12, 768, 3072, 50257, 12, positions=1024), 1024
    ),
    replace(
        _causal("mini-zh-lm", "zh", _APACHE, _rotary("llama", 3, 192, 512, 7641, (4, 4, 48)), 512),
        local=True,
        sample=True,
        about=_TINY,
    ),
    # sequence to sequence
    _two_stacks(
        "facebook/bart-base",
        "en",
        _APACHE,
        Shape("bart", 6, 768, 3072, 50265, 12, positions=1026, decoder=6),
        1024,
    ),
    _two_stacks("google-t5/t5-small", "en", _APACHE, Shape("t5", 6, 512, 2048, 32128, 8, decoder=6), 512),
    _pickled(
        _two_stacks(
            "fnlp/bart-base-chinese",
            "zh",
            _UNSURE,
            Shape("bart", 6, 768, 3072, 51271, 12, positions=1026, decoder=6),
            1024,
        )
    ),
    _pickled(
        _two_stacks(
            "uer/t5-base-chinese-cluecorpussmall",
            "zh",
            _UNSURE,
            Shape("t5", 12, 768, 3072, 21228, 12, decoder=12),
            512,
        )
    ),
)


def find_known(name: str) -> Known:
    """The row of this name; raises `KeyError` where there is none."""
    return {known.name.lower(): known for known in CATALOGUE}[name.lower()]


def kind_of(config: Mapping[str, Any]) -> Kind:
    """Of a model's configuration.

    >>> kind_of({"architectures": ["BertModel"]}), kind_of({"architectures": ["LlamaForCausalLM"]})
    ('encoder', 'causal')
    """
    if config.get("is_encoder_decoder"):
        return "seq2seq"
    names = [str(name) for name in config.get("architectures") or ()]
    causal = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)
    return "causal" if causal or config.get("model_type") in (*_ROTARY, "gpt2") else "encoder"


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a `config.json` describes, or None for a family that is not counted here."""
    family = str(config.get("model_type"))
    get = config.get
    if family in _ROTARY:
        heads = int(config["num_attention_heads"])
        size = int(get("head_dim") or config["hidden_size"] // heads)
        return Shape(
            family,
            config["num_hidden_layers"],
            config["hidden_size"],
            config["intermediate_size"],
            config["vocab_size"],
            heads,
            key_size=size * int(get("num_key_value_heads") or heads),
            query_size=size * heads,
            tied=bool(get("tie_word_embeddings", False)),
        )
    if family == "gpt2":
        D = config["n_embd"]
        inner = get("n_inner") or 4 * D
        return Shape(
            family,
            config["n_layer"],
            D,
            inner,
            config["vocab_size"],
            config["n_head"],
            positions=config["n_positions"],
        )
    if family == "distilbert":
        return Shape(
            family,
            config["n_layers"],
            config["dim"],
            config["hidden_dim"],
            config["vocab_size"],
            config["n_heads"],
            positions=config["max_position_embeddings"],
        )
    if family in (*_POOLED, "electra", "modernbert"):
        modern = family == "modernbert"
        return Shape(
            family,
            config["num_hidden_layers"],
            config["hidden_size"],
            config["intermediate_size"],
            config["vocab_size"],
            config["num_attention_heads"],
            positions=0 if modern else config["max_position_embeddings"],
            types=0 if modern else int(get("type_vocab_size", 0)),
            embedding=get("embedding_size") if family == "electra" else None,
        )
    return None
