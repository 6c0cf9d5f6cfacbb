"""What the data doctor says of single tasks, and the same in Chinese (see `translate`).

[|] stands where the code puts one of several endings; [head|head] is a value of which a template has its own.
"""

__all__ = ["TASKS"]

TASKS: tuple[tuple[str, str], ...] = (
    # check_answers
    (
        "Only {n:rows} with question and context; a comparison needs {least:n} or more.",
        "同时给出问题和上下文的数据只有 {n}；比较至少需要 {least} 条。",
    ),
    (
        "Ask more: a few hundred questions give a first answer.",
        "请补充问题：几百个问题即可得到初步结论。",
    ),
    ("None of the {n:n} questions has an answer.", "{n} 个问题都没有答案。"),
    ("Look at the column of the answers: --label NAME.", "请检查答案所在的列：--label NAME。"),
    (
        "[The answer|The answers] of {n:n} [question is|questions are] ({share:share}) nowhere in their "
        "context.",
        "有 {n} 个问题（{share}）的答案不在其上下文中。",
    ),
    (
        "Nothing is learnt from these rows, and no prediction for them is right; mend or remove them.",
        "从这些数据学不到任何内容，对它们的任何预测也都不算正确；请修正或删除。",
    ),
    (
        "{n:n} of {all:n} answers ({share:share}) are nowhere in their context, beside others to the same "
        "question that are.",
        "{all} 个答案中有 {n} 个（{share}）不在其上下文中，而同一问题的其他答案在上下文中。",
    ),
    (
        "The others are learnt; a prediction is still held against all of them. Mend or remove these.",
        "其他答案会用于学习；预测仍会与全部答案对照。请修正或删除这些答案。",
    ),
    (
        "{n:n} questions have no answer, but none of them is in the training part.",
        "{n} 个问题没有答案，但没有一个在训练集中。",
    ),
    (
        "A model that has seen no such question answers each; move some to the training part.",
        "没有见过这类问题的模型对每个问题都会作答；请把其中一些移到训练集。",
    ),
    (
        "{n:n} questions ({share:share}) have no answer in their context.",
        "{n} 个问题（{share}）在其上下文中没有答案。",
    ),
    (
        "The model learns to say so (how readily, answer.null_threshold says). Leave them out if they are "
        "only not answered yet.",
        "模型会学着指出没有答案（倾向大小由 answer.null_threshold 决定）。如果只是尚未作答，请剔除它们。",
    ),
    (
        "{n:n} questions are about {contexts:n} different contexts (up to {most:n} about one).",
        "{n} 个问题针对 {contexts} 个不同的上下文（同一上下文最多有 {most} 个问题）。",
    ),
    (
        "Questions about the same context, or nearly the same, stay on one side of every split.",
        "上下文相同或近似的问题，在每次划分时都留在同一侧。",
    ),
    (
        "So few contexts make an uncertain test: add questions about others.",
        "上下文这么少，测试结果会很不确定：请补充针对其他上下文的问题。",
    ),
    (
        "{n:n} questions of the {part:part} part are about contexts that are also in the {other:part} part.",
        "{part}集中有 {n} 个问题的上下文也出现在{other}集中。",
    ),
    (
        "The given split is kept as it is; scores may be too good. Let tunelab divide the rows (files "
        "without a split) to keep a context on one side.",
        "给定的划分保持不变，得分可能偏高。若由 tunelab 划分数据（只给未划分的文件），"
        "同一上下文会留在同一侧。",
    ),
    (
        "{n:rows} with a question that is longer than half a window of this model.",
        "{n}数据的问题超过该模型窗口长度的一半。",
    ),
    (
        "Raise model.max_length (if the model allows it), or shorten these questions.",
        "请增大 model.max_length（如果模型允许），或缩短这些问题。",
    ),
    (
        "[The answer|The answers] of {n:n} [question is|questions are] ({share:share}) in no window as a "
        "whole, or dropped by the tokenizer.",
        "有 {n} 个问题（{share}）的答案没有完整出现在任何一个窗口中，或被分词器丢弃。",
    ),
    (
        "Nothing is learnt from these rows. A larger model.max_length shows more of a context at a time.",
        "从这些数据学不到任何内容。增大 model.max_length 可让模型一次看到更多上下文。",
    ),
    (
        "The answers are {median:n} tokens long at the median, {high:n} at the 95th percentile, {most:n} at "
        "most.",
        "答案长度的中位数为 {median} 个 token，第 95 百分位为 {high}，最长 {most}。",
    ),
    (
        "[The answer|The answers] of {n:n} [question is|questions are] longer than {most:n} tokens: never "
        "found whole unless answer.max_tokens is raised.",
        "有 {n} 个问题的答案超过 {most} 个 token：除非增大 answer.max_tokens，否则无法完整找到。",
    ),
    (
        "[The answer|The answers] of {n:n} [question is|questions are] ({share:share}) not made of whole "
        "tokens of this model.",
        "有 {n} 个问题（{share}）的答案不是由该模型的完整 token 组成。",
    ),
    (
        "They begin or end inside one, so they are never found exactly; look at their places.",
        "这些答案从某个 token 内部开始或在其内部结束，因此无法准确找到；请检查它们的位置。",
    ),
    # check_conversations
    (
        "Only {n:rows}; a comparison needs at least {least:n}.",
        "只有 {n}数据；比较至少需要 {least} 条。",
    ),
    ("Write more of them: a few hundred give a first answer.", "请多写一些：几百条即可得到初步结论。"),
    ("{n:rows} ({share:share}) [has|have] an empty answer.", "{n}（{share}）数据含有空的回答。"),
    (
        "They teach to say nothing; remove them, unless that is what is meant.",
        "它们会教模型什么都不说；除非本意如此，否则请删除。",
    ),
    (
        "{n:n} instruction has[|] several different answers ({rows:rows}).",
        "{n} 条指令有多个不同的回答（共 {rows}数据）。",
    ),
    (
        "{n:n} instructions have[|] several different answers ({rows:rows}).",
        "{n} 条指令各有多个不同的回答（共 {rows}数据）。",
    ),
    (
        "That is fine where all of them are good (they stay on one side of every split); where they "
        "contradict each other, keep the right one.",
        "如果这些回答都好，则没有问题（每次划分时它们都在同一侧）；如果相互矛盾，请保留正确的那个。",
    ),
    (
        "Nothing would be trained: no token of an answer is left in any row.",
        "没有可训练的内容：所有数据中都没有留下回答的 token。",
    ),
    (
        "Raise model.max_length where the answers are cut off; else look at the template "
        "(instruct.template).",
        "如果回答被截断，请增大 model.max_length；否则请检查模板（instruct.template）。",
    ),
    (
        "{n:rows} ({share:share}) [loses its|lose their] whole answer: the prompt alone is longer than "
        "model.max_length. They are left out of the training, and are no part of any score.",
        "{n}（{share}）数据失去整个回答：仅提示就已超过 model.max_length。"
        "这些数据不参与训练，也不计入任何得分。",
    ),
    (
        "{n:rows} ({share:share}) [loses its|lose their] whole answer: the prompt alone is longer than "
        "model.max_length.",
        "{n}（{share}）数据失去整个回答：仅提示就已超过 model.max_length。",
    ),
    (
        "They are left out of the training, and are no part of any score.",
        "这些数据不参与训练，也不计入任何得分。",
    ),
    ("Raise model.max_length, or shorten the prompts.", "请增大 model.max_length，或缩短提示。"),
    (
        "{n:rows} ({share:share}) [loses|lose] the end of [its|their] last answer, {lost:share} of it: there "
        "the model does not learn to stop.",
        "{n}（{share}）数据的最后一个回答失去结尾，占该回答的 {lost}：模型在这里学不到何时停止。",
    ),
    (
        "Raise model.max_length if the model allows it; time and memory grow with it.",
        "如果模型允许，请增大 model.max_length；耗时和内存会随之增加。",
    ),
    # check_preferences
    (
        "{n:rows} ({share:share}): the prompt does not fit beside its answers and loses its beginning.",
        "{n}（{share}）数据的提示与回答一起放不下，提示失去开头。",
    ),
    (
        "Raise model.max_length, if the model allows it; both sides of a pair keep the same prompt.",
        "如果模型允许，请增大 model.max_length；每对数据的两侧保留相同的提示。",
    ),
    (
        "{n:rows} ({share:share}): the longer answer loses its end, and with it the end-of-text token.",
        "{n}（{share}）数据中较长的回答失去结尾，文本结束 token 也随之丢失。",
    ),
    (
        "Raise model.max_length, if the model allows it; else where answers end is learnt from the others "
        "alone.",
        "如果模型允许，请增大 model.max_length；否则只能从其他回答学习在何处结束。",
    ),
    (
        "{n:rows} ({share:share}): the two answers are the same to this model: they differ only after the "
        "cut, or in characters that its tokenizer does not know.",
        "{n}（{share}）数据的两个回答对该模型来说是相同的：差别只在截断之后，或只在其分词器不认识的字符上。",
    ),
    (
        "Raise model.max_length, or take another model; such a pair teaches nothing, and counts half.",
        "请增大 model.max_length，或换用其他模型；这样的一对什么也教不了，并且只算半对。",
    ),
    (
        "Fill them in or remove these rows, or run with --fix to leave them out.",
        "请补上回答或删除这些数据，也可加上 --fix 运行将其剔除。",
    ),
    (
        "{n:rows} ({share:share}) [has|have] the same answer as chosen and as rejected: nothing can be "
        "learnt from them.",
        "{n}（{share}）数据的优选回答与非优选回答相同：从中学不到任何内容。",
    ),
    (
        "Mend or remove these rows, or run with --fix to leave them out.",
        "请修正或删除这些数据，也可加上 --fix 运行将其剔除。",
    ),
    (
        "{n:rows} [is|are] contradicted by another: the same prompt and answers, the other one chosen.",
        "{n}数据与另一条相矛盾：提示和两个回答都相同，优选的却是另一个。",
    ),
    (
        "If these are votes of several annotators, put them into one row with columns votes_chosen and "
        "votes_rejected; else decide which is right.",
        "如果这是多位标注者的投票，请合并为一条数据，用 votes_chosen 和 votes_rejected 两列记录；"
        "否则请判断哪一条正确。",
    ),
    (
        "{n:rows} of the test part [has|have] a prompt that is also trained on.",
        "测试集中有 {n}数据的提示也用于训练。",
    ),
    (
        "Scores on them say less of new prompts; where tunelab divides the rows, its pairs stay together.",
        "这些数据上的得分较难反映新提示上的表现；若由 tunelab 划分数据，同一提示的各对会留在一起。",
    ),
    (
        '"The longer answer is better" is right in {share:share} of the pairs (characters).',
        "“较长的回答更好”在 {share} 的数据对中成立（按字符数）。",
    ),
    (
        "A model can score this much without reading: see the scores longer_right and longer_preferred.",
        "模型不读内容也能得到这样的分数：请看得分 longer_right 和 longer_preferred。",
    ),
    # check_rewrites
    (
        "Only {n:rows} with source and target; a comparison needs {least:n} or more.",
        "同时有源文本和目标文本的数据只有 {n}；比较至少需要 {least} 条。",
    ),
    ("A few hundred rows give a first answer.", "几百条数据即可得到初步结论。"),
    (
        "{n:rows} ({share:share}) with a target that is its source, unchanged.",
        "{n}（{share}）数据的目标文本就是源文本，没有改动。",
    ),
    (
        "Right where nothing was to be changed (a correction); else the columns or files may be mixed up.",
        "如果本来就无需改动（如纠错），则是正确的；否则可能是列或文件弄混了。",
    ),
    (
        "{n:rows} ({share:share}) share their target with {others:n} others or more; the most frequent one "
        "stands {times:n} times: {text}.",
        "{n}（{share}）数据的目标文本与至少 {others} 条其他数据相同；最常见的一个出现 {times} 次：{text}。",
    ),
    (
        "Few different answers are classes: look at --task classify. Else look whether they are mistakes.",
        "不同的答案很少时，它们就是类别：请考虑 --task classify。否则请检查是否有误。",
    ),
    (
        "Sources have {source:n} characters at the median ({long_source:n} at the 95th percentile), targets "
        "{target:n} ({long_target:n}).",
        "源文本长度的中位数为 {source} 个字符（第 95 百分位为 {long_source}），目标文本为 {target}"
        "（{long_target}）。",
    ),
    (
        "{n:rows} ({share:share}) with a [source|source] that is longer than the model is given here (the "
        "longest has {longest:n} tokens): its end is cut off.",
        "{n}（{share}）数据的源文本超过此处给模型的长度（最长 {longest} 个 token），结尾会被截断。",
    ),
    (
        "{n:rows} ({share:share}) with a [target|target] that is longer than the model is given here (the "
        "longest has {longest:n} tokens): its end is cut off.",
        "{n}（{share}）数据的目标文本超过此处给模型的长度（最长 {longest} 个 token），结尾会被截断。",
    ),
    ("The model does not see how these end.", "模型看不到这些源文本的结尾。"),
    (
        "The ends of these are not learnt, nor where they end.",
        "模型学不到这些目标文本的结尾，也学不到它们在何处结束。",
    ),
    (
        "Raise model.max_length (time and memory grow with it), or shorten them.",
        "请增大 model.max_length（耗时和内存随之增加），或缩短这些文本。",
    ),
    (
        "Sources, with what the model is given around them, are {source:n} tokens long at the median "
        "({long_source:n} at the 95th percentile), targets {target:n} ({long_target:n}).",
        "源文本（连同一并给模型的前后内容）长度的中位数为 {source} 个 token（第 95 百分位为 "
        "{long_source}），目标文本为 {target}（{long_target}）。",
    ),
    (
        "{n:rows} with more than {most:n} tokens: never written whole unless rewrite.max_new_tokens is "
        "raised.",
        "{n}数据的目标文本超过 {most} 个 token：除非增大 rewrite.max_new_tokens，否则无法完整写出。",
    ),
    # check_tags
    (
        "Label more rows: a few hundred sentences give a first answer.",
        "请标注更多数据：几百个句子即可得到初步结论。",
    ),
    ("No entity is marked in any of the {n:rows}.", "{n}数据中都没有标出任何实体。"),
    (
        "Look at the column of the tags: --label NAME (a number from 1 where there is no header).",
        "请检查标记所在的列：--label NAME（没有表头时用从 1 开始的列号）。",
    ),
    (
        "{n:n} [type is|types are] not in the training part: {names:names}.",
        "{n} 种类型不在训练集中：{names}。",
    ),
    (
        "No method can learn them; look whether they are misspelt, or merge the files and split anew.",
        "任何方法都学不会这些类型；请检查是否拼写有误，或合并文件后重新划分。",
    ),
    (
        "{n:n} of {all:n} types have fewer than {few:n} entities to learn from: {names}.",
        "{all} 种类型中有 {n} 种可供学习的实体不足 {few} 个：{names}。",
    ),
    (
        "Their scores will be little more than chance; label more of them, or merge types.",
        "这些类型的得分几乎取决于偶然；请多标注一些，或合并类型。",
    ),
    (
        "{n:rows} ({share:share}) [has|have] tags that break the rules of their scheme ({told:said}).",
        "{n}（{share}）数据含有不符合标注体系规则的标记（{told}）。",
    ),
    ("{n:n} {old}- read as {new}-, {rest:said}", "{n} 个 {old}- 视为 {new}-，{rest}"),
    ("{n:n} {old}- read as {new}-", "{n} 个 {old}- 视为 {new}-"),
    (
        "They are read as conlleval reads them, which need not be what was meant: look whether a tag is "
        "missing, or of another type than the one before it.",
        "它们按 conlleval 的方式读取，未必符合本意：请检查是否缺少标记，或标记的类型与前一个不同。",
    ),
    ("{n:rows} [has|have] entities that overlap.", "{n}数据中有重叠的实体。"),
    (
        "Each unit gets one label: of two that overlap the one that begins first is learnt (the longer, "
        "where both do), and the other counts as missed. Keep one of them where you can.",
        "每个单元只有一个标签：两个实体重叠时，学习先开始的那个（同时开始则取较长的），另一个计为漏检。"
        "可以的话，请只保留其中一个。",
    ),
    (
        "{n:rows} [has|have] entities that begin or end at a blank.",
        "{n}数据中有以空白开头或结尾的实体。",
    ),
    (
        "A prediction never includes it, so these count as missed; take the blanks off (often all ends are "
        "one too far: data.ends=).",
        "预测从不包含空白，因此这些实体计为漏检；请去掉空白（常见原因是所有结束位置都多了一位："
        "data.ends=）。",
    ),
    ("{n:rows} ({share:share}) have no entity at all.", "{n}（{share}）数据没有任何实体。"),
    (
        "That is fine where it is so in use too; otherwise sample fewer of them, training will be faster.",
        "如果实际使用时也是如此，则没有问题；否则请少采一些这样的数据，训练会更快。",
    ),
    (
        "{n:n} of {all:n} entities ({share:share})[|] begin or end inside a word.",
        "{all} 个实体中有 {n} 个（{share}）从词的内部开始或在词的内部结束。",
    ),
    (
        "Words are labelled whole, so these can never be found exactly; look at their places.",
        "标注以整个词为单位，因此无法准确找到这些实体；请检查它们的位置。",
    ),
    (
        "{n:n} of {all:n} entities ({share:share})[|] begin or end with characters that the tokenizer drops.",
        "{all} 个实体中有 {n} 个（{share}）以分词器会丢弃的字符开头或结尾。",
    ),
    (
        "They cannot be found with this model, and count as missed; another tokenizer may keep them.",
        "该模型无法找到这些实体，一律计为漏检；其他分词器或许能保留这些字符。",
    ),
    (
        "{n:n} of {all:n} entities ({share:share})[|] begin or end within a token of this model, which holds "
        "more than one of the labelled units.",
        "{all} 个实体中有 {n} 个（{share}）从该模型的某个 token 内部开始或在其内部结束，"
        "这样的 token 包含不止一个标注单元。",
    ),
    (
        "They cannot be found exactly with this model, and count as missed; one with smaller tokens, or with "
        "tokens that end where words do, can.",
        "该模型无法准确找到这些实体，一律计为漏检；token 更小、或 token 在词的边界处结束的模型可以。",
    ),
    # language
    (
        "Only {n:rows} of text; a comparison needs at least {least:n} paragraphs.",
        "只有 {n}文本；比较至少需要 {least} 个段落。",
    ),
    (
        "Paragraphs are told by blank lines, or one a line; a single long line is one paragraph.",
        "段落以空行分隔，或一行一段；单独的一个长行算作一段。",
    ),
    # _texts
    *(
        (
            "{n:rows} ({share:share}) [is|are] longer than {length:n} tokens; with {task}.long={how} "
            f"[|]{english}[|]. head loses the ends and head_tail the middles, {{lost:n}} tokens "
            "({gone:share} of all) either way; windows loses none, and reads these rows as {number:n} "
            "windows in {times:n} times the time of all.",
            "{n}（{share}）数据超过 {length} 个 token；{task}.long={how} 时"
            f"{chinese}。head 丢失结尾，head_tail 丢失中间，"
            "都会丢失 {lost} 个 token（占全部的 {gone}）；windows 不丢失，"
            "把这些数据读成 {number} 个窗口，全部数据的耗时为 {times} 倍。",
        )
        for english, chinese in (
            ("their beginning is read", "只读取开头"),
            ("their beginning and their end are read", "读取开头和结尾"),
            ("they are read in windows, whose outputs are averaged", "按窗口读取，各窗口的输出取平均"),
        )
    ),
    (
        "Choose with {task}.long=head, head_tail or windows.",
        "可用 {task}.long=head、head_tail 或 windows 选择。",
    ),
    # prepare, and why a task cannot take a model
    ("Tokens were not looked at: {reason:said}.", "未检查 token：{reason}。"),
    ("Name your model with --model.", "请用 --model 指定你的模型。"),
    (
        "language.objective=causal: {name} is an encoder, which sees the tokens after the one it would "
        "foretell; leave it out (masked)",
        "language.objective=causal：{name} 是编码器，能看到待预测 token 之后的 token；请去掉该设置（masked）",
    ),
    (
        "language.objective=masked: {name} is a decoder, which sees nothing behind a hidden token; leave it "
        "out (causal)",
        "language.objective=masked：{name} 是解码器，看不到被遮盖 token 之后的内容；请去掉该设置（causal）",
    ),
    (
        "{name} comes without a language model's head, so nothing it knows foretells tokens. Take a model "
        "that has one (bert-base-uncased, bert-base-chinese, xlm-roberta-base; Qwen/Qwen3-0.6B), or, for an "
        "encoder, train a new one with language.objective=masked (its loss begins near that of guessing)",
        "{name} 不带语言模型头，因此没有学过预测 token。请选用带语言模型头的模型（bert-base-uncased、"
        "bert-base-chinese、xlm-roberta-base；Qwen/Qwen3-0.6B）；如果是编码器，也可用 "
        "language.objective=masked 训练一个新的（起始损失接近随机猜测）",
    ),
    (
        "align teaches a language model that writes answers, and {name} is none: take one that does "
        "(Qwen/Qwen3-0.6B, HuggingFaceTB/SmolLM2-135M); a score for answers is learnt by task prefer",
        "align 训练的是能写回答的语言模型，而 {name} 不是：请选用能写回答的模型（Qwen/Qwen3-0.6B、"
        "HuggingFaceTB/SmolLM2-135M）；为回答打分由任务 prefer 来学习",
    ),
    (
        "instruct needs a causal language model (Qwen/Qwen3-0.6B, HuggingFaceTB/SmolLM2-135M, or your own "
        "folder); {name} is {what:said}",
        "instruct 需要因果语言模型（Qwen/Qwen3-0.6B、HuggingFaceTB/SmolLM2-135M 或你自己的文件夹）；"
        "{name} {what}",
    ),
    (
        "rewrite needs an encoder-decoder (google-t5/t5-small, google/mt5-small, facebook/bart-base, "
        "fnlp/bart-base-chinese) or a causal language model (Qwen/Qwen3-0.6B); {name} is {what:said}",
        "rewrite 需要编码器-解码器模型（google-t5/t5-small、google/mt5-small、facebook/bart-base、"
        "fnlp/bart-base-chinese）或因果语言模型（Qwen/Qwen3-0.6B）；{name} {what}",
    ),
    ("an encoder, which cannot write", "是编码器，无法生成文本"),
    ("an encoder and a decoder, which task rewrite teaches", "是编码器-解码器模型，由任务 rewrite 训练"),
    ("without a language model's head", "不带语言模型头"),
    (
        "rewrite.architecture={given}: {name} is {head}; leave it out (auto)",
        "rewrite.architecture={given}：{name} 是 {head}；请去掉该设置（auto）",
    ),
)
